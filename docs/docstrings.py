"""Docstrings for the reference: parameters and fields, which they name at the beginning of a sentence, become a list."""

import re

from griffe import Class, Extension, Function, Object


class Parameters(Extension):
    """Has `name: what it is.` begin an item of a list, where name is a parameter or an attribute of what is documented."""

    def on_function(self, *, func: Function, **kwargs):
        rewrite(func)

    def on_class(self, *, cls: Class, **kwargs):
        rewrite(cls)


def rewrite(obj: Object):
    if obj.docstring is not None:
        obj.docstring.value = listed(obj.docstring.value, named(obj))


def named(obj):
    """What a docstring may name."""
    if isinstance(obj, Function):
        return {parameter.name for parameter in obj.parameters}
    if isinstance(obj, Class):
        own = {name for name, member in obj.members.items() if member.is_attribute}
        init = obj.members.get("__init__")
        return own | ({parameter.name for parameter in init.parameters} if isinstance(init, Function) else set())
    return set()


def listed(text, names):
    """text with a list in place of every paragraph that begins with a name and a colon."""
    if not names:
        return text
    one = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    begins = re.compile(rf"(?:^|(?<=[.;] )|(?<=[.;]\n))((?:{one})(?:, (?:{one}))*): ")
    parts = []
    for paragraph in text.split("\n\n"):
        before, *found = begins.split(paragraph)
        after = ""
        if found:  # what holds for all of it
            found[-1], _, after = re.sub(r"(?<=\.)\s+(Raises|Returns) ", r"\0\1 ", found[-1], count=1).partition("\0")
        parts += [before.rstrip()] if before.strip() else []
        items = zip(found[::2], found[1::2], strict=True)
        parts += ["\n".join(f"- **{name}**: {' '.join(what.split())}" for name, what in items)] if found else []
        parts += [after] if after else []
    return "\n\n".join(parts)
