"""teach/machine: the machine card, what the badges promise, and the map of the notebooks: what notebook 00 shows.

In: a `Machine`, lessons. Out: `Drawing`s.
"""

from collections.abc import Iterable

from trtlab.engine.machine import Machine
from trtlab.engine.measure import Origin
from trtlab.teach.drawing import (
    Drawing,
    badge,
    bytes_text,
    card,
    details,
    escape,
    fact,
    origin_badge,
    table,
    text_table,
)


def draw_machine(machine: Machine) -> Drawing:
    """What this machine can do: build, execute, and with what."""
    gpu = ", ".join(f"{g.name} ({g.target})" for g in machine.driver.gpus) or "none"
    builds = (
        ("yes", f"{machine.compiler} for {', '.join(machine.targets)}", "yes")
        if machine.can_build
        else ("no", "recordings stand in", "no")
    )
    executes = (
        ("yes", gpu, "yes")
        if machine.can_execute
        else ("no", f"{machine.why_not_execute}; ONNX Runtime stands in", "no")
    )
    facts = [
        fact("Build TensorRT plans?", *builds),
        fact("Execute them?", *executes),
        fact("Processor", f"{machine.cores} cores", f"{machine.processor}; {' '.join(machine.isa)}"),
        fact("Memory", bytes_text(machine.memory_bytes), f"{machine.system}, Python {machine.python}"),
        fact("GPU", gpu, machine.driver.why_not or f"CUDA driver {machine.driver.version}"),
    ]
    rows = [
        (lib.name, lib.version or "–", "yes" if lib.usable else "no", lib.why_not or "") for lib in machine.libraries
    ]
    header = ("library", "version", "usable", "why not")
    libraries = details("Libraries", table(header, [tuple(map(escape, row)) for row in rows]))
    body = f'<div class="grid">{"".join(facts)}</div>{libraries}'
    text = f"build: {' '.join(builds[:2])}\nexecute: {' '.join(executes[:2])}\n" + text_table(header, rows)
    return Drawing(html=card(f"<b>This machine</b>{origin_badge(Origin.LIVE)}", body), text=text)


def draw_badges() -> Drawing:
    """What LIVE, RECORDED and SIMULATED promise."""
    rows = [(origin.value, " ".join((_BADGES[origin]).split())) for origin in Origin]
    markup = table(("badge", "what it promises"), [(badge(name), escape(text)) for name, text in rows])
    return Drawing(html=f'<div class="card">{markup}</div>', text=text_table(("badge", "what it promises"), rows))


_BADGES = {
    Origin.LIVE: "Made on this machine when the cell ran. Run the cell again and it is made again.",
    Origin.RECORDED: "Read from a file in the package, made earlier on the named device by the command the file keeps.",
    Origin.SIMULATED: "Computed from a description of a device. Good for reasoning, no measurement.",
}


def draw_map(rows: Iterable[tuple[str, str, str, str]]) -> Drawing:
    """The notebooks: (file, question, what you will be able to do, minutes); a link for each that is here."""
    rows = list(rows)
    header = ("notebook", "question", "afterwards you can", "minutes")
    marked = [(f'<a href="{escape(f)}.ipynb">{escape(f)}</a>', escape(q), escape(a), escape(m)) for f, q, a, m in rows]
    return Drawing(html=f'<div class="card">{table(header, marked, numeric=(3,))}</div>', text=text_table(header, rows))
