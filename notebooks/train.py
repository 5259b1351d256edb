# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Train
#
# **Research use only. Not a medical device.**
#
# Train three models on a folder of radiographs: normal or pneumonia (1.A), normal, bacterial or viral (1.B), and an
# autoencoder of normals (3). The notebook `test` evaluates them.
#
# Environment variables: `DATA`, a folder of radiographs (phantoms without it; their metrics say nothing about real
# radiographs); `OUT`, the output folder; `EPOCHS`; `CONFIGURATION`, `reference` or `improved`.

# %%
import os
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pneumoscope

DATA = os.environ.get("DATA")
OUT = Path(os.environ.get("OUT", "out/notebooks"))
EPOCHS = int(os.environ.get("EPOCHS", 40 if DATA else 4))
CONFIGURATION = os.environ.get("CONFIGURATION", "improved")
SEED = 0

# %% [markdown]
# ## The radiographs
#
# The official test split is kept. Validation is split from train by patient.

# %%
source = DATA or OUT / "phantoms"
if not DATA and not source.exists():
    pneumoscope.write_phantoms(source, num_train=360, num_test=90, size=128, seed=SEED)

dataset = pneumoscope.split_dataset(pneumoscope.load_dataset(source, cache_dir=OUT / "cache"), seed=SEED)
dataset.table.groupby(["split", "subtype"]).agg(images=("name", "size"), patients=("patient", "nunique"))

# %%
figure, panels = plt.subplots(3, 4, figsize=(9, 7), layout="constrained")
train = dataset.split("train")
for row, subtype in zip(panels, ("normal", "bacterial", "viral"), strict=True):
    examples = train.images[train.table["subtype"] == subtype]
    for panel, image in zip(row, examples, strict=False):
        panel.imshow(image, cmap="gray", vmin=0, vmax=255)
        panel.set_title(subtype)
        panel.axis("off")

# %% [markdown]
# ## Tasks 1.A and 1.B
#
# Each epoch is saved: a training that was stopped resumes when its cell runs again.

# %%
settings = pneumoscope.configuration_settings(CONFIGURATION, epochs=EPOCHS)
classifications = {}
for task, classes in {"binary": pneumoscope.BINARY_CLASSES, "three_class": pneumoscope.THREE_CLASSES}.items():
    _, classifications[task] = pneumoscope.train_classifier(
        dataset, OUT / task, classes=classes, settings=settings, seed=SEED
    )
    pneumoscope.save_result(classifications[task], OUT / f"{task}.npz")


# %%
def draw_curve(curve, title):
    epochs = np.arange(1, len(curve.loss) + 1)
    figure, panels = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    for panel, name in zip(panels, ("loss", "accuracy"), strict=True):
        panel.plot(epochs, getattr(curve, name), marker=".", label="train")
        panel.plot(epochs, getattr(curve, f"val_{name}"), marker=".", label="validation")
        panel.axvline(curve.chosen_epoch, color="gray", linestyle=":", label="chosen")
        panel.set(xlabel="epoch", ylabel=name)
    panels[0].legend()
    figure.suptitle(title)


for task, classification in classifications.items():
    draw_curve(classification.curve, f"{task}: {classification.parameters:,} parameters")
    print(f"{task}, validation accuracy: {classification.evaluations['val'].metrics['accuracy']}")

# %% [markdown]
# ## Task 3: the autoencoder of normals
#
# Its thresholds come from held-out normals: mean + 1 standard deviation, and a quantile with a stated false
# positive rate.

# %%
settings = pneumoscope.autoencoder_settings(CONFIGURATION, epochs=EPOCHS)
if not DATA:
    # Few phantoms give few steps; smaller batches and a higher learning rate make up for it.
    settings = replace(settings, batch_size=4, learning_rate=2e-3)
_, anomaly = pneumoscope.train_anomaly(dataset, OUT / "autoencoder", settings=settings, seed=SEED)
pneumoscope.save_result(anomaly, OUT / "anomaly.npz")
print(anomaly.thresholds)

# %%
figure, panel = plt.subplots(figsize=(6, 3), layout="constrained")
epochs = np.arange(1, len(anomaly.curve.loss) + 1)
panel.plot(epochs, anomaly.curve.loss, marker=".", label="train")
panel.plot(epochs, anomaly.curve.val_loss, marker=".", label="held-out normals")
panel.set(xlabel="epoch", ylabel="mean squared error")
panel.legend()

# %% [markdown]
# `OUT` holds a folder for each model, with its weights and card, and a result file for each task. Continue with the
# notebook `test`.
