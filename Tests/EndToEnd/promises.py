"""Figures that are promised of a machine with nothing else to do. A test prints each and gates on it only where TOLLGATE_FIGURES=1, as
`scripts/test --all` sets it: elsewhere another process would decide what is green."""

import os

IS_GATED = os.environ.get("TOLLGATE_FIGURES") == "1"


def promised(what, value, unit="ms", most=float("inf"), least=float("-inf")):
    bound = f"at most {most:g}" if least == float("-inf") else f"at least {least:g}"
    text = f"{what}: {value:.3g} {unit}, promised {bound}"
    print("\n" + text + ("" if IS_GATED else " (not gated)"))
    if IS_GATED:
        assert least <= value <= most, text
