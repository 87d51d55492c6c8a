"""The contract of the rooms, for import-linter: which room may import which, as pyproject.toml lists it; nothing else may.

Imports inside functions and under TYPE_CHECKING count too.
"""

from importlinter import Contract, ContractCheck, fields, output

PACKAGE = "sparse_plugin"


class Arrows(Contract):
    """rooms: "NAME -> OTHER OTHER", a line a room. anywhere: what every room may import."""

    type_name = "arrows"

    rooms = fields.ListField(subfield=fields.StringField())
    anywhere = fields.ListField(subfield=fields.StringField(), required=False)

    def check(self, graph, verbose):
        allowed = table(self.rooms)
        wrong, unknown = [], set()
        for module in sorted(graph.modules - {PACKAGE}):
            room = room_of(module)
            if room in (self.anywhere or ()):
                allowed.setdefault(room, set())
            if room not in allowed:
                unknown.add(room)
                continue
            for other in sorted(graph.find_modules_directly_imported_by(module)):
                if room_of(other) not in {room, *allowed[room], *(self.anywhere or ())}:
                    lines = [f"line {each['line_number']}" for each in graph.get_import_details(importer=module, imported=other)]
                    wrong.append(f"{module} -> {other} ({', '.join(lines)})")
        missing = sorted(set(allowed) - {room_of(module) for module in graph.modules} - set(self.anywhere or ()))
        return ContractCheck(
            kept=not (wrong or unknown or missing),
            metadata={"wrong": wrong, "unknown": sorted(unknown), "missing": missing},
        )

    def render_broken_contract(self, check):
        for line in check.metadata["wrong"]:
            output.print_error(line)
        for room in check.metadata["unknown"]:
            output.print_error(f"{room} is in no line of `rooms`; say what it may import")
        for room in check.metadata["missing"]:
            output.print_error(f"`rooms` names {room}, and there is no such room")


def table(rooms):
    """What each room may import, by name."""
    lines = (line.partition("->") for line in rooms)
    return {room.strip(): set(others.split()) for room, _, others in lines}


def room_of(module):
    """The room of a module, or the module itself at the top; PACKAGE for the package's own names."""
    return module.split(".")[1] if "." in module else PACKAGE
