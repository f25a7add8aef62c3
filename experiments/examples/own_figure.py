"""At which update does a small network first reach half of its final loss?"""

from vision_attn import Accuracy, Experiment, Mnist5k, Recipe, ResNet, Run, ViT
from vision_attn.figures import Figure, theme
from vision_attn.spec import spec

MODELS = {"ViT": ViT(dim=32, depth=1, patch_size=7), "ResNet": ResNet(width=8, blocks=1)}


@spec
class LossCurve(Figure):
    title = "Training loss"
    hue: str = "model"

    def table(self, records):
        groups = records.history.groupby([self.hue, "update"], observed=True)["train_loss"]
        return groups.agg(estimate="mean", n="count").reset_index()

    def draw(self, table, records, *, into=None):
        sheet, (axes,) = theme.canvas(1, into=into)
        for name, style in theme.styles(records.plan, self.hue).items():
            rows = table[table[self.hue] == name]
            axes.plot(rows["update"], rows["estimate"], color=style.colour, label=name)
        axes.set(xlabel="update", ylabel="loss")
        axes.legend()
        return sheet

    def caption(self, table, records):
        return "Mean training loss over seeds at every logged update."


def run(model, seed):
    return Run(model=MODELS[model], data=Mnist5k(), recipe=Recipe(updates=200, batch_size=32), seed=seed)


factors = {"model": tuple(MODELS), "seed": range(3)}
experiment = Experiment(question=__doc__, factors=factors, run=run, probes=(Accuracy(),), figures=(LossCurve(),))
