"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import torch


class Ema:
    """What the target keeps of itself a step; parameters and buffers are matched by their order alone."""

    def __init__(self, source, target, decay, start_iter):
        self.source, self.target = source, target
        self.decay, self.start_iter = decay, start_iter

    def kept(self, step):
        return self.decay if step >= self.start_iter else 0.0

    @torch.no_grad()
    def update(self, iter=None):
        weight = 1 - self.kept(iter)
        for kind in (torch.nn.Module.parameters, torch.nn.Module.buffers):
            for old, new in zip(kind(self.target), kind(self.source)):  # noqa: B905
                old.lerp_(new, weight) if old.is_floating_point() else old.copy_(new)


class EmaStylegan2(Ema):
    """Whose half-life, in images, grows with the run."""

    def __init__(self, source, target, ema_kimg, ema_rampup, effective_batch_size):
        super().__init__(source, target, decay=1000 * ema_kimg, start_iter=ema_rampup)
        self.batch = effective_batch_size

    def kept(self, step):
        half_life = min(self.decay, self.start_iter * step * self.batch)
        return 0.5 ** (self.batch / half_life) if half_life else 0.0
