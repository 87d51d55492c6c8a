"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import losses


def GAN_training_function(G, D, GD, z_, y_, ema, state_dict, config):
    size, parts = config["batch_size"], config["num_G_accumulations"]

    def begin(network):
        for each in (G, D):
            each.requires_grad_(each is network)
        network.optim.zero_grad()

    def draw():
        for noise in (z_, y_):
            noise.sample_()

    def train(x, y):
        for images, labels in zip(x.split(size), y.split(size), strict=True):
            begin(D)
            draw()
            scores = GD(z_[:size], y_[:size], images, labels, policy=config["DiffAugment"])
            on_real, on_fake = losses.discriminator_loss(*scores)
            (on_real + on_fake).backward()
            D.optim.step()
        begin(G)
        loss = 0.0
        for _ in range(parts):
            draw()
            part = losses.generator_loss(GD(z_, y_, train_G=True, policy=config["DiffAugment"])) / parts
            part.backward()
            loss += part.item()
        G.optim.step()
        if ema is not None:
            ema.update(itr=state_dict["itr"])
        return {"G_loss": loss, "D_loss_real": on_real.item(), "D_loss_fake": on_fake.item()}

    return train
