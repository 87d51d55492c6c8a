"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""


def print_module_summary(module, inputs):
    """One forward pass, on whatever is in the memory of `inputs`, with a hook on every module."""
    lines, handles = [], []
    for path, part in module.named_modules():

        def note(part, given, made, path=path):
            lines.append(f"{path or 'root'}: {type(part).__name__}")

        handles.append(part.register_forward_hook(note))
    made = module(*inputs)
    while handles:
        handles.pop().remove()
    print(*lines, sep="\n")
    return made
