"""Other sites against a lab in which somebody is logged in, in a real Chromium: a second origin, another port, and a name that was led here."""

from __future__ import annotations

import http.server
import json
import threading

import pytest
from ui_support import Watched, serving

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
PASSWORD = "a-long-password"

# What a page of another site can try with somebody else's cookies; each answer that it could read is a success.
ATTACK = """
async ([lab, component]) => {
  const told = {}, remove = JSON.stringify({ data: { kind: "task", id: "mine", language: "en" }, component_id: component, session_hash: "x", fn_name: "throw" });
  const post = (path, body, type, more) => fetch(lab + path, { method: "POST", body, credentials: "include", headers: type ? { "Content-Type": type } : {}, ...more });
  const tried = async (name, act) => { try { const said = await act(); told[name] = said && said.type === "opaque" ? "opaque" : String(said && said.status); } catch (error) { told[name] = "blocked"; } };
  for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/json"]) {
    await tried("delete " + type, () => post("/gradio_api/component_server", remove, type));
    await tried("delete unseen " + type, () => post("/gradio_api/component_server", remove, type, { mode: "no-cors" }));
  }
  const form = new FormData(); form.append("files", new Blob(["a,b"]), "evil.csv");
  await tried("upload", () => post("/gradio_api/upload", form, "", { mode: "no-cors" }));
  await tried("launch", () => post("/gradio_api/call/launch", JSON.stringify({ data: [{ model: "minilm-l6", task: "sentiment-rt", method: "lora" }] }), "text/plain", { mode: "no-cors" }));
  await tried("read", () => fetch(lab + "/config", { credentials: "include" }));
  await tried("head", () => fetch(lab + "/runs", { credentials: "include", method: "HEAD" }));
  await tried("beacon", async () => ({ status: navigator.sendBeacon(lab + "/gradio_api/component_server", new Blob([remove], { type: "text/plain" })) ? "sent" : "no" }));
  told.events = await new Promise((done) => { const source = new EventSource(lab + "/gradio_api/queue/data?session_hash=x", { withCredentials: true }); source.onopen = () => done("open"); source.onerror = () => { source.close(); done("blocked"); }; });
  told.socket = await new Promise((done) => { const socket = new WebSocket(lab.replace("http", "ws") + "/gradio_api/queue/join"); socket.onopen = () => done("open"); socket.onerror = () => done("blocked"); });
  told.script = await new Promise((done) => { const tag = document.createElement("script"); tag.src = lab + "/gradio_api/info"; tag.onload = () => done("loaded"); tag.onerror = () => done("blocked"); document.body.append(tag); });
  told.logout = await new Promise((done) => { const tag = document.createElement("img"); tag.src = lab + "/logout"; tag.onload = tag.onerror = () => done("asked"); document.body.append(tag); });
  told.frame = await new Promise((done) => { const frame = document.createElement("iframe"); frame.src = lab + "/"; frame.onload = () => { try { done(frame.contentDocument.body.innerText.includes("Bench") ? "seen" : "blocked"); } catch { done("blocked"); } }; document.body.append(frame); setTimeout(() => done("blocked"), 4000); });
  for (const [action, body] of [["/gradio_api/component_server", remove], ["/login", "username=me&password=x"]]) {  // a form, as old as the web
    const target = document.createElement("iframe"), form = document.createElement("form"), field = document.createElement("input");
    target.name = "t" + Math.random(); Object.assign(form, { action: lab + action, method: "post", enctype: "text/plain", target: target.name });
    field.name = body.slice(0, -1); field.value = body.slice(-1); form.append(field); document.body.append(target, form); form.submit();
    await new Promise((done) => setTimeout(done, 800));
  }
  return told;
}
"""


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """Another site."""

    def do_GET(self):  # noqa: N802
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<body>Free kittens</body>")

    def log_message(self, *_):
        """Nothing."""


def test_other_sites_do_nothing(browser, tmp_path):
    home, data = tmp_path / "home", tmp_path / "mine.csv"
    data.write_text("text,label\n" + "".join(f"row {n},{'ab'[n % 2]}\n" for n in range(40)), encoding="utf-8")
    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    with serving(home, LAB_AUTH=f"me:{PASSWORD}") as address, browser.new_context(locale="en-US") as context:
        page = context.new_page()
        page.set_default_timeout(60_000)
        watched = Watched(page)
        page.goto(address)
        page.get_by_label("username").or_(page.locator("input").first).first.fill("me")
        page.locator("input[type=password]").fill(PASSWORD)
        page.get_by_role("button", name="Login").click()
        page.wait_for_selector("#costs [data-trainable]")
        page.goto(address + "/data")
        page.wait_for_selector('#data-tasks [data-task="sentiment-rt"]')
        page.set_input_files("#data-file input[type=file]", str(data))
        page.wait_for_selector("#data-preview .lab-facts")
        page.get_by_role("button", name="Import", exact=True).click()
        page.wait_for_selector('.lab-own-task[data-task="mine"]')
        watched.clean()
        component = page.evaluate(
            "async () => (await (await fetch('config')).json()).components.find((part) => String(part.props.server_fns || '').includes('throw')).id"
        )

        foreign = context.new_page()
        for site in (f"http://evil.test:{other.server_port}", f"http://127.0.0.1:{other.server_port}", f"http://localhost:{other.server_port}"):
            foreign.goto(site)
            told = foreign.evaluate(ATTACK, [address, component])
            assert all(said in ("blocked", "opaque", "asked", "sent") for said in told.values()), (site, told)
            assert (home / "tasks" / "mine").exists() and not list((home / "runs").glob("[a-z]*")), site
        assert not list((home / "tmp").rglob("evil.csv"))

        rebound = f"http://evil.test:{address.rpartition(':')[2]}"
        said = foreign.goto(rebound + "/")
        assert said.status == 403 and "does not answer to the name" in foreign.inner_text("body")
        for path, more in (
            ("/config", {}),
            ("/runs", {}),
            ("/gradio_api/info", {}),
            ("/look/runs", {"method": "POST", "body": "{}", "headers": {"Content-Type": "application/json"}}),
        ):
            status = foreign.evaluate("async ([path, more]) => (await fetch(path, more)).status", [path, more])
            assert status == 403, path
        assert foreign.evaluate(ATTACK, [address, component])["read"] == "blocked"
        assert (home / "tasks" / "mine").exists()

        page.reload()
        page.wait_for_selector('.lab-own-task[data-task="mine"]')
        cookies = [cookie for cookie in context.cookies() if cookie["name"].startswith("access-token")]
        assert cookies and {cookie["sameSite"] for cookie in cookies} == {"Lax"}, "still logged in"
        delete = page.locator('.lab-own-task[data-task="mine"] button')
        delete.click()
        page.locator("dialog.lab-sure .warn").click()
        page.wait_for_selector('.lab-own-task[data-task="mine"]', state="detached")
        watched.clean()
    other.shutdown()
    print(json.dumps(told))
