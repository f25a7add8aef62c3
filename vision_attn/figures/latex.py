"""LaTeX: a table as it is printed, in the manner of booktabs."""

import re

import pandas as pd

SIGNS = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
    "×": r"$\times$",
    "→": r"$\to$",
    "±": r"$\pm$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "√": r"$\surd$",
}
"""What has a meaning in LaTeX, or no glyph in its older engines."""


def latex(table: pd.DataFrame, *, caption: str = "") -> str:
    """The table as an environment `table` that needs the package booktabs; columns of numbers are right-aligned."""
    cells = table.astype(str)
    aligned = "".join("r" if _is_number(cells[name]) else "l" for name in cells)
    rows = [" & ".join(map(escaped, row)) + r" \\" for row in cells.itertuples(index=False, name=None)]
    head = " & ".join(map(escaped, map(str, cells.columns))) + r" \\"
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        *([rf"\caption{{{escaped(caption)}}}"] if caption else []),
        rf"\begin{{tabular}}{{{aligned}}}",
        r"\toprule",
        head,
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """A text as LaTeX prints it letter by letter."""
    return "".join(SIGNS.get(sign, sign) for sign in " ".join(text.split()))


def _is_number(cells: pd.Series) -> bool:
    return all(re.match(r"[−+–]?(\d|$)", cell) for cell in cells)
