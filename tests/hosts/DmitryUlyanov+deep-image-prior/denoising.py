"""Stand-in written for the tests: names and call structure of DmitryUlyanov/deep-image-prior, none of its text."""

# In place of the notebook of this name.
import numpy as np
import torch
from models import get_net
from utils.common_utils import get_noise, get_params, np_to_torch, optimize

dtype = torch.FloatTensor
torch.manual_seed(0)
img_np = np.random.RandomState(0).rand(3, 32, 32).astype(np.float32)
img_noisy_np = np.clip(img_np + np.random.RandomState(1).normal(scale=25 / 255, size=img_np.shape), 0, 1)
INPUT = "noise"
pad = "reflection"
OPT_OVER = "net"
reg_noise_std = 1.0 / 30
LR = 0.01
OPTIMIZER = "adam"
show_every = 100
exp_weight = 0.99
num_iter = 3
input_depth = 8
net = get_net(
    input_depth, "skip", pad, skip_n33d=8, skip_n33u=8, skip_n11=4, num_scales=3, upsample_mode="bilinear"
).type(dtype)
net_input = get_noise(input_depth, INPUT, img_np.shape[1:]).type(dtype).detach()
mse = torch.nn.MSELoss().type(dtype)
img_noisy_torch = np_to_torch(img_noisy_np).type(dtype)
net_input_saved = net_input.detach().clone()
noise = net_input.detach().clone()
out_avg = None
last_net = None
psrn_noisy_last = 0
i = 0


def closure():
    global i, out_avg, psrn_noisy_last, last_net, net_input
    if reg_noise_std > 0:
        net_input = net_input_saved + (noise.normal_() * reg_noise_std)
    out = net(net_input)
    out_avg = out.detach() if out_avg is None else out_avg * exp_weight + out.detach() * (1 - exp_weight)
    total_loss = mse(out, img_noisy_torch)
    total_loss.backward()
    psrn_noisy = -10 * np.log10(np.mean((img_noisy_np - out.detach().numpy()[0]) ** 2))
    print(f"Iteration {i:05d}    Loss {total_loss.item():f}   PSNR_noisy: {psrn_noisy:f}")
    if i % show_every:
        if psrn_noisy - psrn_noisy_last < -5:
            for new_param, net_param in zip(last_net, net.parameters(), strict=True):
                net_param.data.copy_(new_param)
            return total_loss * 0
        last_net = [x.detach().cpu() for x in net.parameters()]
        psrn_noisy_last = psrn_noisy
    i += 1
    return total_loss


p = get_params(OPT_OVER, net, net_input)
optimize(OPTIMIZER, p, closure, LR, num_iter)
out = net(net_input)
