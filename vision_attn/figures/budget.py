"""Budget: accuracy against how many images a model was trained on, and where the data begin to limit it."""

from typing import Any, ClassVar

import pandas as pd
from matplotlib.axes import Axes

from vision_attn import wording
from vision_attn.figures import theme
from vision_attn.figures.limited import LARGEST, limited, limits_remarks, mark_hollow
from vision_attn.figures.lines import SplitLines
from vision_attn.figures.view import View
from vision_attn.plan import Plan
from vision_attn.records import Records
from vision_attn.spec import spec


@spec
class Budget(SplitLines):
    """A metric against the training budget, one line a model, a panel for every training-set size.

    The mark at the largest budget is filled where the model is limited by its data there, and hollow where it is
    limited by the budget (`statistics.limits`).
    """

    title: ClassVar[str] = "Training budget"
    own_columns: ClassVar[tuple[str, ...]] = ("train_accuracy", "limited_by")

    x: str = "images_seen"

    def applies(self, plan: Plan) -> bool:
        """Where there are several budgets."""
        return super().applies(plan) and len(plan.factors.get(self.x, ())) > 1

    def table(self, records: Records) -> pd.DataFrame:
        view = self.view(records)
        found = limited(view, by=view.rows, budget=self.x).astype({LARGEST: float})
        out = super().table(view)
        out = out.assign(**{LARGEST: out[self.x].astype(float)}).merge(found, on=[*view.rows, LARGEST], how="left")
        out["limited_by"] = out["limited_by"].astype(object).fillna("")
        return out.drop(columns=LARGEST).astype(view.runs[view.rows].dtypes.to_dict())

    def marks(
        self, axes: Axes, own: pd.DataFrame, at: dict[Any, float], style: theme.Style, rows: pd.DataFrame
    ) -> None:
        mark_hollow(axes, own, at, style)

    def x_text(self, view: View) -> str:
        return "images seen in training" if self.x == "images_seen" else wording.factor_text(self.x)

    def remarks(self, table: pd.DataFrame, view: View) -> list[str]:
        return [*super().remarks(table, view), *limits_remarks(table, view, by=view.rows, is_ladder=True)]
