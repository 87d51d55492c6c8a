"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import torch
import torch.nn.functional as F


def sample_y(y_sampler, batch_size, num_classes, device):
    if y_sampler == "acending_all":
        return torch.arange(num_classes).repeat_interleave(8)
    return torch.randint(low=0, high=num_classes, size=(batch_size,), dtype=torch.long)


def sample_zy(z_prior, batch_size, z_dim, num_classes, truncation_factor, y_sampler, radius, device):
    fake_labels = sample_y(y_sampler=y_sampler, batch_size=batch_size, num_classes=num_classes, device=device)
    zs = torch.randn(fake_labels.shape[0], z_dim)
    zs_eps = zs + radius * torch.randn_like(zs) if isinstance(radius, float) and radius > 0.0 else None
    return zs, fake_labels, zs_eps


def generate_images(
    z_prior, truncation_factor, batch_size, z_dim, num_classes, y_sampler, radius, generator, discriminator, is_train,
    LOSS, RUN, MODEL, device, is_stylegan, generator_mapping, generator_synthesis, style_mixing_p,
    stylegan_update_emas, cal_trsp_cost,
):  # fmt: skip
    zs, fake_labels, zs_eps = sample_zy(
        z_prior=z_prior, batch_size=batch_size, z_dim=z_dim, num_classes=num_classes,
        truncation_factor=-1.0 if is_train or is_stylegan else truncation_factor, y_sampler=y_sampler, radius=radius,
        device=device,
    )  # fmt: skip
    made = []
    for z in (zs, zs_eps):
        if z is None:
            made.append((None, None))
        elif is_stylegan:
            made.append(
                stylegan_generate_images(
                    zs=z, fake_labels=fake_labels, num_classes=num_classes, style_mixing_p=style_mixing_p,
                    update_emas=stylegan_update_emas, generator_mapping=generator_mapping,
                    generator_synthesis=generator_synthesis, truncation_psi=-1 if is_train else truncation_factor,
                    truncation_cutoff=RUN.truncation_cutoff,
                )
            )  # fmt: skip
        else:
            made.append((None, generator(z, fake_labels, eval=not is_train)))
    (ws, fake_images), (_, fake_images_eps) = made
    return fake_images, fake_labels, fake_images_eps, None, ws, None, None


def stylegan_generate_images(
    zs, fake_labels, num_classes, style_mixing_p, update_emas, generator_mapping, generator_synthesis, truncation_psi,
    truncation_cutoff,
):  # fmt: skip
    one_hot = F.one_hot(fake_labels, num_classes=num_classes)
    psi = 1 if truncation_psi == -1 else truncation_psi
    ws = generator_mapping(zs, one_hot, truncation_psi=psi, update_emas=update_emas)
    if style_mixing_p > 0:
        cutoff = int(torch.randint(1, ws.shape[1], ())) if torch.rand(()) < style_mixing_p else ws.shape[1]
        ws[:, cutoff:] = generator_mapping(torch.randn_like(zs), one_hot, update_emas=False)[:, cutoff:]
    return ws, generator_synthesis(ws, update_emas=update_emas)
