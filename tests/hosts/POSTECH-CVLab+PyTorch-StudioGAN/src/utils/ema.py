"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import torch


class Ema:
    """Zips parameters and buffers by their order."""

    def __init__(self, source, target, decay=0.9999, start_iter=0):
        self.source, self.target, self.decay, self.start_iter = source, target, decay, start_iter
        self.source_dict, self.target_dict = source.state_dict(), target.state_dict()
        copy(source, target)

    def update(self, iter=None):
        decay = 0.0 if iter >= 0 and iter < self.start_iter else self.decay
        with torch.no_grad():
            for p_ema, p in zip(self.target.parameters(), self.source.parameters()):  # noqa: B905
                p_ema.copy_(p.lerp(p_ema, decay))
            for (name, b_ema), (_, b) in zip(self.target.named_buffers(), self.source.named_buffers()):  # noqa: B905
                b_ema.copy_(b if "num_batches_tracked" in name else b.lerp(b_ema, decay))


class EmaStylegan2:
    def __init__(self, source, target, ema_kimg, ema_rampup, effective_batch_size):
        self.source, self.target = source, target
        self.ema_nimg, self.ema_rampup, self.batch_size = ema_kimg * 1000, ema_rampup, effective_batch_size
        self.source_dict, self.target_dict = source.state_dict(), target.state_dict()
        copy(source, target)

    def update(self, iter=None):
        nimg = self.ema_nimg
        if self.ema_rampup != "N/A":
            nimg = min(nimg, self.batch_size * iter * self.ema_rampup)
        beta = 0.5 ** (self.batch_size / max(nimg, 1e-8))
        with torch.no_grad():
            for p_ema, p in zip(self.target.parameters(), self.source.parameters()):  # noqa: B905
                p_ema.copy_(p.lerp(p_ema, beta))
            for b_ema, b in zip(self.target.buffers(), self.source.buffers()):  # noqa: B905
                b_ema.copy_(b)


def copy(source, target):
    with torch.no_grad():
        for new, old in zip(target.parameters(), source.parameters()):  # noqa: B905
            new.copy_(old)
        for new, old in zip(target.buffers(), source.buffers()):  # noqa: B905
            new.copy_(old)
