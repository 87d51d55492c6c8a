"""Scripts that no patch knows: their generators are found by the names of their classes when they are built."""

import pytest
from launched import script, sparse_plugin

QUARTER = ("run", "--sparse", "l0_inf", "--set", "sparse.k=2", "--", "python", "train.py")


def run(tmp_path, body, **how):
    script(tmp_path, body)
    return sparse_plugin(*QUARTER, cwd=tmp_path, **how)


def test_a_class_named_generator_is_attached(tmp_path):
    done = run(tmp_path, "train(); print(counts)", bare=True)
    assert done.returncode == 0 and done.stdout == "[2, 2, 2]\n", done.stderr
    assert "attached to Generator at the input of out" in done.stderr


@pytest.mark.parametrize(
    "name", ["_netG", "netG", "G", "DCGAN_G", "SNGANGenerator64", "GeneratorResNet", "GeneratorUNet"]
)
def test_names_that_generators_have(tmp_path, name):
    done = run(
        tmp_path,
        f"""
        class {name}(nn.Module):
            def __init__(self):
                super().__init__()
                self.body, self.out = nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)
            def forward(self, z):
                return self.out(self.body(z[:, :, None, None].expand(-1, -1, 8, 8)).relu())
        {name}()(torch.randn(2, 6))
        """,
    )
    assert done.returncode == 0 and f"attached to {name} at the input of out" in done.stderr, done.stderr


def test_a_part_of_a_generator_is_not_one(tmp_path):
    done = run(
        tmp_path,
        """
        class ResBlockGenerator(nn.Module):
            def __init__(self):
                super().__init__()
                self.c1, self.c2 = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
            def forward(self, x):
                return x + self.c2(self.c1(x).relu())

        class Deep(Generator):
            def __init__(self):
                super().__init__()
                self.body = nn.Sequential(nn.Conv2d(6, 3, 1), ResBlockGenerator(), nn.Conv2d(3, 8, 1))
        Deep()(torch.randn(2, 6))
        print(counts[-1])
        """,
    )
    assert done.returncode == 0 and done.stdout == "2\n", done.stderr
    assert "ResBlockGenerator" not in done.stderr


def test_several_generators(tmp_path):
    done = run(tmp_path, "a, b = Generator(), Generator()\nfor g in (a, b): g(torch.randn(2, 6))\nprint(counts)")
    assert (done.returncode, done.stdout) == (0, "[2, 2]\n")


def test_linear_layers_alone_are_refused_with_the_reason(tmp_path):
    done = run(
        tmp_path,
        """
        class Generator(nn.Module):
            def __init__(self):
                super().__init__()
                self.model = nn.Sequential(nn.Linear(6, 32), nn.LeakyReLU(0.2), nn.Linear(32, 192))
        Generator()
        print("went on")
        """,
    )
    assert done.returncode == 2 and "went on" not in done.stdout
    assert "no convolution, so no dictionary" in done.stderr and "Traceback" not in done.stderr
    assert '--generator "module:Class"' in done.stderr


def test_other_things_that_generate_are_left_alone(tmp_path):
    done = run(
        tmp_path,
        """
        class AnchorGenerator(nn.Module):
            def forward(self, x):
                return x
        AnchorGenerator()(torch.zeros(1))
        train()
        """,
    )
    assert done.returncode == 0 and "AnchorGenerator" not in done.stderr


def test_a_named_class_is_the_only_one(tmp_path):
    script(
        tmp_path,
        "class Other(Generator): pass\nGenerator()(torch.randn(2, 6))\nOther()(torch.randn(2, 6))\nprint(counts[0] > 2, counts[1])",
    )
    options = list(QUARTER)
    options[5:5] = ["--generator", "__main__:Other"]
    done = sparse_plugin(*options, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "True 2\n"), done.stderr


def test_nothing_is_named_and_training_is_refused(tmp_path):
    script(tmp_path, "train(); print('went on')")
    done = sparse_plugin("run", "--", "python", "train.py", cwd=tmp_path)
    assert done.returncode == 2 and "went on" not in done.stdout
    assert "about to be trained and no regularizer is named; give --sparse NAME" in done.stderr


def test_nothing_is_named_and_nothing_is_loaded(tmp_path):
    script(tmp_path, "Generator()(torch.randn(2, 6)); print(counts)")
    done = sparse_plugin("run", "--", "python", "train.py", cwd=tmp_path)
    assert done.returncode == 3 and "NO REGULARIZER WAS NAMED" in done.stderr


def test_a_checkpoint_says_what_to_attach(tmp_path):
    script(tmp_path, "torch.save(train().state_dict(), 'g.pth')")
    assert sparse_plugin(*QUARTER, cwd=tmp_path).returncode == 0
    load = "g = Generator()\ng.load_state_dict(torch.load('g.pth'))\ng(torch.randn(2, 6))\nprint(counts)"
    script(tmp_path, load, "sample.py")
    done = sparse_plugin("run", "--", "python", "sample.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "[2]\n"), done.stderr
    assert "the checkpoint was trained with l0_inf(k=2), which is attached again" in done.stderr
    script(tmp_path, load.replace("torch.load('g.pth')", "torch.load('g.pth'), strict=False"), "sample.py")
    done = sparse_plugin("run", "--set", "sparse.enabled=false", "--", "python", "sample.py", cwd=tmp_path)
    assert done.returncode == 2 and "the plugin is disabled" in done.stderr


def test_a_checkpoint_with_a_site_by_hand_asks_for_it(tmp_path):
    script(tmp_path, "torch.save(train().state_dict(), 'g.pth')")
    options = list(QUARTER)
    options[5:5] = ["--set", "sparse.sites=[body]"]
    assert sparse_plugin(*options, cwd=tmp_path).returncode == 0
    script(tmp_path, "g = Generator()\ng.load_state_dict(torch.load('g.pth'))\ng(torch.randn(2, 6))", "sample.py")
    done = sparse_plugin("run", "--", "python", "sample.py", cwd=tmp_path)
    assert done.returncode == 2 and "trained with l0_inf(k=2) at body" in done.stderr and "at out" in done.stderr
    done = sparse_plugin("run", "--set", "sparse.sites=[body]", "--", "python", "sample.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_penalty_has_nothing_to_do_in_a_run_that_only_samples(tmp_path):
    script(tmp_path, "with torch.no_grad(): Generator()(torch.randn(2, 6))")
    done = sparse_plugin(
        "run", "--sparse", "l1", "--set", "sparse.weight=1e-3", "--", "python", "train.py", cwd=tmp_path
    )
    assert done.returncode == 0 and "a penalty acts in training, and this run trained nothing" in done.stderr


def test_a_penalty_that_never_met_a_trained_generator_is_a_failure(tmp_path):
    """The weights are used behind the modules' back, so Γ never passes the hook, and the optimizer steps all the same."""
    script(
        tmp_path,
        """
        g = Generator()
        opt = torch.optim.SGD(g.parameters(), 0.1)
        for _ in range(3):
            opt.zero_grad()
            nn.functional.conv2d(torch.randn(2, 8, 9, 9), g.out.weight).square().mean().backward()
            opt.step()
        """,
    )
    done = sparse_plugin(
        "run", "--sparse", "l1", "--set", "sparse.weight=1e-3", "--", "python", "train.py", cwd=tmp_path
    )
    assert done.returncode == 3 and "NOTHING WAS REGULARIZED" in done.stderr, done.stderr


@pytest.mark.parametrize("asked", [("l1", "sparse.weight=1e-3"), ("l0_inf", "sparse.k={start: 1.0, end: 0.25, steps: 3}")])
def test_an_optimizer_that_is_none_of_torchs(tmp_path, asked):
    """As fastai's, or one of the script's own, beside one of torch's for the discriminator."""
    script(
        tmp_path,
        """
        g, d = Generator(), nn.Linear(3, 1)
        opt = torch.optim.SGD(d.parameters(), 0.1)
        for _ in range(5):
            d(g(torch.randn(2, 6)).detach().mean((2, 3))).mean().backward()
            opt.step()
            d(g(torch.randn(2, 6)).mean((2, 3))).mean().backward()
            for p in g.parameters():
                p.data -= 0.1 * p.grad
                p.grad = None
        print(counts[-1])
        """,
    )
    done = sparse_plugin("run", "--sparse", asked[0], "--set", asked[1], "--", "python", "train.py", cwd=tmp_path)
    assert done.returncode == 0 and "NOTHING" not in done.stderr, done.stderr
    assert asked[0] == "l1" or done.stdout.split()[-1] == "2"


@pytest.mark.slow
def test_a_mistake_in_a_spawned_process_is_a_sentence_too(tmp_path):
    script(
        tmp_path,
        """
        def work(rank):
            Generator().load_state_dict(torch.load("g.pth"))

        if __name__ == "__main__":
            torch.multiprocessing.spawn(work, nprocs=2)
        """,
    )
    script(tmp_path, "torch.save(train().state_dict(), 'g.pth')", "other.py")
    other = [*QUARTER[:-1], "other.py"]
    assert sparse_plugin(*other, cwd=tmp_path).returncode == 0
    done = sparse_plugin("run", "--sparse", "l0", "--set", "sparse.k=5", "--", "python", "train.py", cwd=tmp_path)
    assert (
        done.returncode == 2 and "trained with l0_inf(k=2), and the generator is attached with l0(k=5)" in done.stderr
    )
