"""The demo: mimicry's own trainer on photographs, without a constraint and with one, and a page that compares the two."""
