"""The HTML pages: what they hold, that nothing in them is let loose, and how they act."""

import json
import re
import shutil
from dataclasses import asdict

import numpy as np
import pytest

import scaling
from scaling.fitting.result import load_fit
from scaling.fitting.settings import FitConfig
from scaling.hardware.devices import DEVICES
from scaling.pages.html.assemble import to_numbers, write_data
from scaling.pages.html.fitted import round_levels
from scaling.pages.html.planned import plan_page
from scaling.pages.plans import plan_sections
from scaling.pages.words import name_sizes
from scaling.planning.allocation import Goals
from scaling.planning.goals import solve
from scaling.planning.ladder import MANY, build_ladder
from scaling.planning.placement import STRATEGIES, place
from scaling.planning.plan import answer
from scaling.planning.request import read_request
from scaling.results import fit_conventions, write_report
from scaling.shapes.buildable import build

EVIL = "</script><img src=x onerror=alert(1)>'\"<b>"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--disable-quic"]
LIMITS = [(None, 0.0), ("300B", 0.0), (None, 3e12), ("300B", 3e12), ("3B", 0.0)]


@pytest.fixture(scope="module")
def made(grid, curves_of):
    """A table with evil names, a run that diverged, two meanings of N, and curves."""
    runs = grid(noise=0.004, seed=3, sizes=5, budgets=(4e11, 8e11, 1.6e12))
    runs["non_embedding_params"] = (runs.total_params - 9 * runs.total_params**0.5).round()
    runs["name"], runs["reason"] = EVIL, ""
    runs.loc[2, ["status", "reason"]] = ["diverged", EVIL]
    curves = curves_of(runs)
    config = FitConfig(bootstrap=20, audit=False)
    found = fit_conventions(runs, config)
    return runs, curves, [found[0], *found], config


@pytest.fixture(scope="module")
def report_file(made, tmp_path_factory):
    runs, curves, reports, config = made
    folder = tmp_path_factory.mktemp("page")
    settings = {"name": EVIL, "fit": asdict(config)}
    write_report(folder, EVIL, f"python -m {EVIL}", runs, curves, reports, settings)
    return folder / "report.html"


@pytest.fixture(scope="module")
def request_of():
    return read_request("5.76e23", "besiroglu2024", data_limit="300B", inference_tokens="1T")


@pytest.fixture(scope="module")
def planned(request_of):
    return answer(request_of)


@pytest.fixture(scope="module")
def plan_file(planned, request_of, tmp_path_factory):
    plan = planned
    sections = list(plan_sections(plan))
    file = tmp_path_factory.mktemp("page") / "plan.html"
    file.write_text(plan_page(EVIL, plan, request_of, DEVICES["H100"], 64, sections))
    return file


def data_of(file):
    text = re.search(r'id="data">(.*?)</script>', file.read_text(), re.DOTALL)
    assert text
    return json.loads(text[1])


# ---------------------------------------------------------------- without a browser


def test_data_ends_no_script_and_comes_back():
    data = {"a": [EVIL, "\u2028&"], "b": 1.5}
    assert "<" not in write_data(data) and json.loads(write_data(data)) == data


def test_numbers_are_short_and_what_is_none_is_null():
    found = to_numbers([[1.23456789, np.nan], [np.inf, 24.0]])
    assert found == [[1.2346, None], [None, 24]]


def test_levels_are_round_and_few():
    assert round_levels(4.11, 4.62) == [4.2, 4.3, 4.4, 4.5, 4.6]
    assert 1 < len(round_levels(1.97, 5.3)) <= 8


def test_a_report_is_one_small_file_that_loads_nothing(report_file):
    text = report_file.read_text()
    assert len(text) < 500_000
    assert "default-src 'none'" in text and "unsafe" not in text
    assert not re.search(r"""(src|href)=["'](?!data:,)""", text.replace("img src=x", ""))
    assert not re.search(r"<[a-z][^>]*\son\w+=", text)  # no handler within a tag
    assert text.count("<script") == text.count("</script>") == 2
    assert "<img" not in text and text.count("&lt;/script&gt;") > 10
    assert "diverged" in text and "python -m" in text and "Refused: not asked for." in text


def test_a_report_holds_what_its_fits_say(made, report_file):
    _, _, reports, _ = made
    data = data_of(report_file)
    assert [c["N"] for c in data["conventions"]] == ["total", "non_embedding"]
    total = data["conventions"][0]
    methods = {m["method"]: m for m in total["methods"]}
    fit, C = reports[0]["isoflop_power"], np.array(total["C"])
    assert total["C"][total["first"]] == reports[0].budgets[-1]
    for name in ("N_opt", "L_opt"):
        found = getattr(fit, name)(C)
        kept = np.array(methods["isoflop_power"]["optimum"][name], float)
        np.testing.assert_allclose(kept[0], found.value, rtol=1e-4)
        np.testing.assert_allclose(kept[1], found.low, rtol=1e-4)
    assert methods["isoflop_power"]["off"] < 0.02
    assert len(total["stopped"]) == 1 and total["contours"]
    residual = np.array(methods["parametric"]["residual"], float)
    expected = -100 * np.array(reports[0]["parametric"].diagnosis.residuals)
    np.testing.assert_allclose(residual, expected, rtol=0.01, atol=0.01)


def test_bytes_on_any_number_of_devices_are_those_of_the_placement():
    [rung] = build_ladder([1.3e9])
    for n in (2, 8, 64, 1000):
        table = place(rung.shape, rung.total_params, DEVICES["H100"], n).table
        for row in table.to_dict("records"):
            for (a, b), name in zip(
                rung.bytes_on[row["strategy"]], ("total", "total_recomputed"), strict=True
            ):
                assert a + b / n == pytest.approx(row[name], rel=1e-9)
    assert {*rung.bytes_on} == {*STRATEGIES} and MANY[0] < MANY[1]


def test_shapes_of_a_plans_page_are_those_that_plans_build(planned, request_of, plan_file):
    data = data_of(plan_file)
    shapes = {shape["wanted"]: shape["label"] for shape in data["shapes"]}
    best = request_of.law.N_opt(data["budgets"][::8]).value
    for N, shape in [(planned.N, planned.shape.shape), *((N, None) for N in best)]:
        nearest = min(shapes, key=lambda wanted: abs(np.log(wanted / N)))
        assert nearest == pytest.approx(N, rel=1e-6)
        built = build(float(N), 1.0, np.inf).shape if shape is None else shape
        assert shapes[nearest] == name_sizes(built)
    assert "No slider" not in plan_file.read_text()
    request = read_request("1e21", request_of.law.name, serve_params="1B")
    page = plan_page("", answer(request), request, DEVICES["H100"], 64, [])
    assert "No slider knows of this plan: size." in page


def test_a_notebook_shows_a_few_escaped_lines(made):
    report = made[2][0]
    card = report._repr_html_()
    assert report.recommended.method in card and card.count("<li>") < 12
    fit = load_fit(scaling.planning.sources.SHIPPED)
    assert "parametric fit of chinchilla" in fit._repr_html_()
    plan = scaling.make_plan("1e22")
    assert "1e+22 FLOPs" in plan._repr_html_() and "<script" not in plan._repr_html_()


# ---------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="pip install -e '.[browser]'")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def opened(browser):
    """A function that opens a page; at the end nothing went wrong or went out."""
    troubles, pages = [], []

    def open_file(file, **options):
        page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}} | options)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.append(message.text))
        page.on("dialog", lambda dialog: troubles.append(dialog.message))
        page.on("request", lambda request: pages.append(request.url))
        page.goto(file.as_uri())
        return page

    yield open_file
    assert troubles == []
    assert all(url.startswith("file:") for url in pages) and len(pages) == 1


def text_of(page, where):
    return page.locator(where).inner_text()


@pytest.mark.browser
def test_every_control_of_a_report_changes_what_it_should(opened, report_file):
    page = opened(report_file)
    runs = page.locator("#bowls .run")
    assert page.locator("#bowls .runs .run").count() == 15
    assert page.locator("#bowls .runs .stopped").count() == 1
    before = page.locator("#bowls .runs .run").first.get_attribute("transform")
    N = text_of(page, "#at-N_opt")
    page.locator("[name=convention][value=non_embedding]").check()
    assert page.locator("#bowls .runs .run").first.get_attribute("transform") != before
    assert text_of(page, "#at-N_opt") != N and "without token" in text_of(page, "#method-note")
    page.locator("[name=convention][value=total]").check()
    assert text_of(page, "#at-N_opt") == N
    page.locator("[name=method][value=parametric]").check()
    assert text_of(page, "#at-N_opt") != N and "parametric: ok" in text_of(page, "#method-note")
    assert "within the budgets" in text_of(page, "#flag")
    page.locator("#budget").focus()
    page.keyboard.press("End")
    assert "Extrapolated" in text_of(page, "#flag") and "128 times" in text_of(page, "#flag")
    page.locator("#budget-text").fill("4e11")
    page.keyboard.press("Enter")
    assert text_of(page, "#flag").startswith("4e+11 FLOPs is within")
    runs.nth(5).hover()
    told = text_of(page, "#bowls .told")
    for part in (EVIL[:9], " N ", " D ", " C ", "loss", "% off parametric"):
        assert part in told, told
    runs.nth(5).click()
    assert page.locator("#run").input_value() == runs.nth(5).get_attribute("data-run")
    assert page.locator("#curves .chosen").count() == 2


@pytest.mark.browser
def test_a_report_is_read_by_keyboard(opened, report_file):
    page = opened(report_file)
    page.locator("#budget-text").focus()
    page.keyboard.press("Tab")
    here = "document.activeElement.getAttribute('aria-label')"
    first = page.evaluate(here)
    assert "loss" in first and text_of(page, "#bowls .told") == first
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    second = page.evaluate(here)
    assert second not in (None, first) and text_of(page, "#bowls .told") == second
    run = page.evaluate("document.activeElement.dataset.run")
    assert page.locator(f"#contours .run.on[data-run='{run}']").count() == 1
    page.keyboard.press("Enter")
    assert page.locator("#run").input_value() == run
    page.keyboard.press("Tab")  # one stop a chart
    assert page.evaluate("document.activeElement.closest('figure').id") == "compute"


@pytest.mark.browser
def test_a_report_suits_narrow_and_dark_screens_and_print(opened, report_file):
    page = opened(report_file, viewport={"width": 390, "height": 800}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(20, 23, 27)"
    page.emulate_media(media="print")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert not page.locator(".controls").is_visible()
    boxes = page.evaluate(OVERLAPS)
    assert boxes == []


OVERLAPS = """[...document.querySelectorAll('.chart svg')].flatMap((svg) => {
  const boxes = [...svg.querySelectorAll('text')].map(
    (t) => [t.textContent, t.getBoundingClientRect()]);
  return boxes.flatMap(([name, a], i) => boxes.slice(i + 1).filter(([, b]) =>
    a.left < b.right && b.left < a.right && a.top + 3 < b.bottom && b.top + 3 < a.bottom)
    .map(([other]) => `${name} | ${other}`));
})"""


@pytest.mark.browser
def test_a_report_without_script_has_its_tables(browser, report_file):
    page = browser.new_page(java_script_enabled=False)
    page.goto(report_file.as_uri())
    assert "Without script" in text_of(page, "noscript")
    assert page.locator("tbody tr").count() > 20 and not page.locator("#explore").is_visible()


@pytest.mark.browser
def test_the_law_in_the_page_says_what_python_says(opened, plan_file, request_of):
    page, law = opened(plan_file), request_of.law
    for limit, served in LIMITS:
        unique = None if limit is None else float(limit[:-1]) * 1e9
        for C in (1e21, 5.76e23):
            script = f"""allocateAll(law, {{C: {C}, limit: {unique or "Infinity"}, served: {served},
                repeat: true}}, constants)"""
            pick = "estimate(all.point.{0}, all.drawn.map((p) => p.{0}))"
            found = page.evaluate(
                f"(() => {{ const all = {script}; return ["
                + ", ".join(pick.format(name) for name in ("N", "D", "L", "total"))
                + "] })()"
            )
            known = solve(law, Goals(C, None, unique, served=served))
            for ours, theirs in zip(
                found, (known.N, known.D, known.loss, known.total), strict=True
            ):
                assert ours[0] == pytest.approx(theirs.value, rel=2e-5), (limit, served, C)
                ends = [np.nan if end is None else end for end in ours[1:]]
                expected = pytest.approx([theirs.low, theirs.high], rel=0.05, nan_ok=True)
                assert ends == expected, (limit, served, C)


@pytest.mark.browser
def test_every_control_of_a_plan_changes_what_it_should(opened, planned, plan_file):
    page, strategy = opened(plan_file), "ZeRO-3, FSDP"
    assert text_of(page, "#memory .told").startswith(name_sizes(planned.shape.shape))
    rows = place(planned.shape.shape, planned.total_params, DEVICES["H100"], 64).table
    held = f"{rows.set_index('strategy').total[strategy] / 1e9:.3g} GB"
    assert held in text_of(page, f"[data-strategy='{strategy}']")
    N, D = text_of(page, "#at-N"), text_of(page, "#at-D")
    assert "passes" in text_of(page, "#answer") and "FLOPs with serving" in text_of(page, "#answer")
    page.locator("#served").focus()
    page.keyboard.press("Home")
    assert "with serving" not in text_of(page, "#answer") and text_of(page, "#at-N") != N
    page.locator("#limit").focus()
    page.keyboard.press("End")
    assert "passes" not in text_of(page, "#answer") and text_of(page, "#at-D") != D
    page.locator("#budget-text").fill("1e22")
    page.keyboard.press("Enter")
    assert "Within the budgets" in text_of(page, "#flag")
    days, bars = text_of(page, "#at-days"), text_of(page, "#memory .bars")
    page.locator("#count").focus()
    page.keyboard.press("End")
    assert text_of(page, "#at-days") != days and text_of(page, "#memory .bars") != bars
    fsdp = page.locator(f"[data-strategy='{strategy}'] .fill")
    wide = fsdp.bounding_box()["width"]
    assert wide > 0
    page.locator("[name=device][value=B200]").check()
    assert fsdp.bounding_box()["width"] < wide
    assert page.evaluate(OVERLAPS) == []
