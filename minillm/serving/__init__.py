"""Serving a model over HTTP, with the interface of OpenAI's chat completions.

embeddings.py   the vectors of texts
engine.py       the thread that continues the texts of all requests together
requests.py     the fields of a request, and its errors
tools.py        functions that an answer may call, and the forms of calls
forms.py        the objects of an answer
app.py          the address, the paths, and the answers to them
page.html       a page to talk to the model
"""
