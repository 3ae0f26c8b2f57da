"""The lessons work in JupyterLab, as somebody in front of a browser sees them."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import papermill
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
# The command resolves when the kernel has answered for the last cell. Clicking on the menu instead is lost
# where the kernel is not connected yet, which the page does not show.
RUN_ALL = """async () => {
    const app = window.jupyterapp;
    await app.restored;
    const panel = app.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
    await app.commands.execute('notebook:run-all-cells');
    return [...panel.content.model.cells].filter(cell => cell.type === 'code')
        .flatMap(cell => cell.outputs.toJSON());
}"""


@pytest.fixture(scope="module")
def jupyterlab(tmp_path_factory):
    """Serve copies of the lessons; gives the address of a notebook by its name."""
    root = tmp_path_factory.mktemp("lab")
    shutil.copy(NOTEBOOKS / "10_patching.ipynb", root)
    # Two people, briefly: all of them are what the execution of every notebook is for.
    quickstart = papermill.iorw.load_notebook_node(str(NOTEBOOKS / "00_quickstart.ipynb"))
    few = {"subjects": [2, 7], "models": ["EEGDINO"], "n_epochs": 1}
    papermill.iorw.write_ipynb(
        papermill.parameterize.parameterize_notebook(quickstart, few), str(root / "00_quickstart.ipynb")
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(8)
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.root_dir": root,
        "IdentityProvider.token": token,
        "LabApp.expose_app_in_browser": True,
        "LabApp.extension_manager": "readonly",
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--{name}={value}" for name, value in options.items()]
    own = {f"JUPYTER_{kind}_DIR": str(root / ".jupyter" / kind) for kind in ("CONFIG", "RUNTIME", "DATA")}
    # The tests draw without a screen; in a notebook figures are to be seen.
    variables = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"} | own
    with (root / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/api/status?token={token}", server, root / "server.log")
        yield lambda name: f"{address}/lab/tree/{name}?token={token}&reset"
    finally:
        server.terminate()
        server.wait(timeout=30)


def wait_for(address, server, log):
    for _ in range(240):
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except urllib.error.URLError:
            time.sleep(0.25)
    pytest.fail(f"JupyterLab did not start: {log.read_text()[-2000:]}")


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(60_000)
    yield page
    page.close()


def open_and_run(page, address):
    page.goto(address, wait_until="domcontentloaded")
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    return page.evaluate(RUN_ALL)


def test_the_quickstart_runs_and_shows_its_table_and_figures(page, jupyterlab, screenshots):
    outputs = open_and_run(page, jupyterlab("00_quickstart.ipynb"))

    assert [output["ename"] for output in outputs if output["output_type"] == "error"] == []
    table = page.locator(".jp-OutputArea-output table", has_text="tangent space").last
    table.scroll_into_view_if_needed()
    assert "FBLightConvNet" in table.inner_text()
    figure = page.locator(".jp-OutputArea-output img").last
    figure.scroll_into_view_if_needed()
    assert figure.evaluate("image => image.naturalWidth") > 100
    page.screenshot(path=screenshots / "jupyterlab_quickstart.png")


def test_moving_the_slider_redraws_the_patches(page, jupyterlab, screenshots):
    open_and_run(page, jupyterlab("10_patching.ipynb"))
    slider = page.locator(".jp-OutputArea-output .widget-hslider")
    slider.scroll_into_view_if_needed()
    image = page.locator(".jp-OutputArea-output img.widget-image")
    before, length = image.get_attribute("src"), slider.locator(".widget-readout").inner_text()

    slider.get_by_role("slider").press("ArrowRight")

    page.wait_for_function("([image, before]) => image.src !== before", arg=[image.element_handle(), before])
    assert slider.locator(".widget-readout").inner_text() != length
    page.screenshot(path=screenshots / "jupyterlab_slider.png")
