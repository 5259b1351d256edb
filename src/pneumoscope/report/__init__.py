"""Pages, figures and texts for results that other packages computed.

study_page.py            `report.html` of a study
evaluation_page.py       `evaluation.html` and `.json` of an evaluation
audit_page.py            `audit.html`, `.txt` and `.json` of a collection
model_card.py            `README.md` of an exported model
reading_image.py         a prediction as one image
templates.py             Jinja environment, style sheet and scripts
tables.py                tables of a study and of all pages
evaluation_tables.py     tables of an evaluation
sentences.py             sentences of a study
evaluation_sentences.py  sentences of an evaluation
wording.py               metrics, intervals and titles as text
comparison.py            metrics of the reference study, of this study and of publications
published.py             values and sources of the reference study and of publications
study_figures.py         figures of a study
figures/                 one function for each figure
threshold_explorer.py    data of `thresholds.js`
interactive_map.py       data of `map.js`
"""
