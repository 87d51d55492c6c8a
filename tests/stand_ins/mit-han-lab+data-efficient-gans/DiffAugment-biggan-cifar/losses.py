"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""


def hinge_of_D(dis_fake, dis_real):
    """Of real images, and of fake ones."""
    return (1 - dis_real).clamp(min=0).mean(), (1 + dis_fake).clamp(min=0).mean()


def hinge_of_G(dis_fake):
    return (-dis_fake).mean()


# Training looks these names up at each call.
discriminator_loss = hinge_of_D
generator_loss = hinge_of_G
