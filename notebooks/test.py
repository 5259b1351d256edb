# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Test
#
# **Research use only. Not a medical device.**
#
# Evaluate the models of the notebook `train` on test images: metrics, embeddings, anomaly scores and heatmaps. Use the
# same `DATA` and `OUT`.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pneumoscope

DATA = os.environ.get("DATA")
OUT = Path(os.environ.get("OUT", "out/notebooks"))
SEED = 0

dataset = pneumoscope.split_dataset(
    pneumoscope.load_dataset(DATA or OUT / "phantoms", cache_dir=OUT / "cache"), seed=SEED
)
TASKS = {"binary": pneumoscope.BINARY_CLASSES, "three_class": pneumoscope.THREE_CLASSES}
models = {task: pneumoscope.load_model(OUT / task).model for task in TASKS}

# %% [markdown]
# ## Tasks 1.A and 1.B: metrics with 95 % intervals that resample patients

# %%
evaluations = {
    task: pneumoscope.evaluate_classifier(models[task], dataset, classes=classes, seed=SEED)
    for task, classes in TASKS.items()
}
for task, evaluation in evaluations.items():
    print(f"{task}, {len(evaluation.labels)} test images")
    for name, estimate in evaluation.metrics.items():
        print(f"  {name:26}{estimate}")

# %%
figure, panels = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for panel, (task, evaluation) in zip(panels, evaluations.items(), strict=True):
    panel.imshow(evaluation.confusion, cmap="cividis")
    for (truth, decision), count in np.ndenumerate(evaluation.confusion):
        panel.text(decision, truth, count, ha="center", va="center", bbox={"facecolor": "white", "edgecolor": "none"})
    ticks = range(len(evaluation.classes))
    panel.set_xticks(ticks, evaluation.classes)
    panel.set_yticks(ticks, evaluation.classes)
    panel.set(title=task, xlabel="decision", ylabel="truth")

# %% [markdown]
# ## Task 2: embeddings, neighbors and the map

# %%
embeddings = {task: pneumoscope.embed_images(model, dataset.images) for task, model in models.items()}
neighbors = {}
for task, classes in TASKS.items():
    neighbors[task] = pneumoscope.find_neighbors(
        embeddings[task], dataset, classes=classes, probabilities=evaluations[task].probabilities, seed=SEED
    )
    accuracy = neighbors[task].evaluations["test"].metrics["accuracy"]
    print(f"{task}: k = {neighbors[task].k}, accuracy {accuracy}, agreement {neighbors[task].agreement}")

# %% [markdown]
# Each row: a test image, then its nearest training images of other patients.

# %%
result = neighbors["three_class"]
width = 1 + result.nearest.shape[1]
figure, panels = plt.subplots(3, width, figsize=(2 * width, 6.5), layout="constrained")
for row, query, nearest in zip(panels, result.queries, result.nearest, strict=False):
    for panel, index in zip(row, [query, *nearest], strict=True):
        panel.imshow(dataset.images[index], cmap="gray", vmin=0, vmax=255)
        panel.set_title(dataset.table["subtype"][index])
        panel.axis("off")

# %%
figure, panels = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
for panel, (task, classes) in zip(panels, TASKS.items(), strict=True):
    placed = pneumoscope.compute_map(embeddings[task], dataset, classes=classes, seed=SEED)
    for label, name in enumerate(classes):
        for origin, marker in (("train", "."), ("test", "x")):
            shown = (placed.labels == label) & (placed.origins == origin)
            panel.scatter(
                *placed.coordinates[shown].T, s=12, marker=marker, color=f"C{label}", label=f"{name}, {origin}"
            )
    panel.set(title=f"{task}, trustworthiness {placed.trustworthiness:.2f}", xticks=[], yticks=[])
    panel.legend(fontsize="small")

# %% [markdown]
# ## Task 3: anomaly scores of the autoencoder

# %%
anomaly = pneumoscope.load_result(OUT / "anomaly.npz")
for name, estimate in anomaly.metrics.items():
    print(f"{name:34}{estimate}")

# %%
figure, panel = plt.subplots(figsize=(7, 3), layout="constrained")
bins = np.linspace(0, np.quantile(anomaly.scores, 0.99), 40)
for label, name in enumerate(pneumoscope.BINARY_CLASSES):
    panel.hist(anomaly.scores[anomaly.labels == label], bins, alpha=0.6, label=name)
for (name, threshold), style in zip(anomaly.thresholds.items(), ("--", ":"), strict=True):
    panel.axvline(threshold, color="black", linestyle=style, label=name)
panel.set(xlabel="mean squared error", ylabel="test images")
panel.legend()

# %%
figure, panels = plt.subplots(3, 4, figsize=(9, 7), layout="constrained")
columns = zip(panels.T, anomaly.examples, anomaly.images, anomaly.reconstructions, anomaly.anomaly_maps, strict=False)
for (top, middle, bottom), index, image, reconstruction, anomaly_map in columns:
    top.imshow(image, cmap="gray", vmin=0, vmax=1)
    top.set_title(dataset.table["subtype"][index])
    middle.imshow(reconstruction, cmap="gray", vmin=0, vmax=1)
    bottom.imshow(anomaly_map, cmap="cividis", vmin=0, vmax=anomaly.anomaly_maps.max())
for panel in panels.flat:
    panel.axis("off")

# %% [markdown]
# ## Task 4: HiResCAM of each convolutional layer of the model of task 1.A

# %%
explanation = pneumoscope.explain_classifier(models["binary"], dataset, seed=SEED)
for name, estimate in explanation.metrics.items():
    print(f"{name:26}{estimate}")

# %%
num_rows = min(4, len(explanation.images))
figure, panels = plt.subplots(num_rows, 1 + len(explanation.layers), figsize=(9, 2.3 * num_rows), layout="constrained")
for row, image, heatmaps, label in zip(
    panels, explanation.images, explanation.heatmaps, explanation.labels, strict=False
):
    row[0].imshow(image, cmap="gray", vmin=0, vmax=1)
    row[0].set_title(pneumoscope.BINARY_CLASSES[label])
    for panel, heatmap, layer in zip(row[1:], heatmaps, explanation.layers, strict=True):
        panel.imshow(image, cmap="gray", vmin=0, vmax=1)
        panel.imshow(heatmap, cmap="cividis", vmin=0, vmax=1, alpha=0.5)
        panel.set_title(layer)
for panel in panels.flat:
    panel.axis("off")

# %% [markdown]
# The patches with the highest activation of the strongest filters of the last layer, one filter per row.

# %%
layer = explanation.layers[-1]
patches = explanation.patches[layer][:4]
figure, panels = plt.subplots(*patches.shape[:2], figsize=(9, 6), layout="constrained")
for panel, patch in zip(panels.flat, patches.reshape(-1, *patches.shape[2:]), strict=True):
    panel.imshow(patch, cmap="gray", vmin=0, vmax=1)
    panel.axis("off")
figure.suptitle(f"{layer}: filters {', '.join(map(str, explanation.patch_filters[layer][:4]))}")
