"""The page of the server in a real browser: it sends a message and shows the answer."""

import html
import json
import re

import chatting
import pytest
from browser import document, needs_chromium
from chatting import system, user
from running_server import Running

import minillm
from minillm.decoding import Sampling
from minillm.serving import app

MESSAGES = ["the cat", "<b>the mat"]
# What a person does: sets the temperature and a system prompt, types a message, presses Enter, and
# clicks New after the answer.  What the page has shown is written at its end.
PERSON = """
<script>
  const wait = until => new Promise(done => {
    const look = setInterval(() => until() && (clearInterval(look), done()), 20);
  });
  (async () => {
    const seen = [];
    await wait(() => document.title === "run");
    temperature.value = "0";
    system.value = "the dog";
    for (const text of %s) {
      field.value = text;
      field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", cancelable: true }));
      seen.push(send.textContent);
      await wait(() => running === null);
      seen.push(send.textContent, ...[...main.children].flatMap(a => [a.className, a.textContent]));
      document.querySelector("#reset").click();
      seen.push(main.children.length);
    }
    document.body.append(element("output", JSON.stringify(seen).replaceAll("<", "\\\\u003c")));
  })();
</script>
"""


@pytest.mark.deep
@needs_chromium
def test_a_person_talks_to_the_model(tmp_path, monkeypatch):
    run = minillm.load(chatting.save(tmp_path / "run", context=512))
    respond, person = app.HTMLResponse, PERSON % json.dumps(MESSAGES)
    monkeypatch.setattr(app, "HTMLResponse", lambda text, **how: respond(text + person, **how))
    server = Running(run.answering)
    try:
        page = document(server.address, tmp_path / "profile", budget=3600)
    finally:
        server.close()
    seen = json.loads(html.unescape(re.search("<output>(.*)</output>", page)[1]))
    for message in MESSAGES:
        talk = [system("the dog"), user(message)]
        answer = "".join(run.answering.answer(talk, None, Sampling(temperature=0)))
        stop, send, *shown, left = seen[:7]
        seen = seen[7:]
        assert (stop, send, left) == ("Stop", "Send", 0)
        assert shown[:3] == ["user", message, "assistant"]
        assert re.findall(r"\w+", shown[3]) == re.findall(r"\w+", answer)  # without its Markdown
    assert not seen
