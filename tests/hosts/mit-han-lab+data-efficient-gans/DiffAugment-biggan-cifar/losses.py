"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import torch.nn.functional as F


def loss_dcgan_dis(dis_fake, dis_real):
    return F.softplus(-dis_real).mean(), F.softplus(dis_fake).mean()


def loss_dcgan_gen(dis_fake):
    return F.softplus(-dis_fake).mean()


def loss_hinge_dis(dis_fake, dis_real):
    return F.relu(1.0 - dis_real).mean(), F.relu(1.0 + dis_fake).mean()


def loss_hinge_gen(dis_fake):
    return -dis_fake.mean()


generator_loss = loss_hinge_gen
discriminator_loss = loss_hinge_dis
