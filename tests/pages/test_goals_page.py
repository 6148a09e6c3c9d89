from scaling.pages.goals import describe_answer
from scaling.pages.plans import plan_sections
from scaling.pages.text import markdown
from scaling.planning.allocation import Goals
from scaling.planning.goals import solve
from scaling.planning.plan import make_plan
from scaling.planning.sources import get_source


def test_a_goal_reads_well():
    plan = make_plan(
        1e24,
        target_loss=2.0,
        serve_params="at most 100B",
        latency="60 ms",
        serve_sequences=8,
        serve_on="2 H100",
        vocab_size=32_000,
        seq_len=2048,
    )
    page = markdown(plan_sections(plan))
    for part in (
        "(held by target)",
        "47B [31.",
        "FLOPs of training, loss 2 (extrapolated)",
        "| budget: training within | 1e+24 FLOPs | 2.43e+23 FLOPs | slack |",
        "| target: loss to reach | 2 nats/token | 2 nats/token | active |",
        "| size: parameters | 100B | 47B | slack |",
        "parameters on 2 H100, 16 bits a weight: weights 9",
        "of 144 GB that are usable",
        "the least there can be",
    ):
        assert part in page, part


def test_a_plain_plan_has_no_such_section():
    assert "What was asked" not in markdown(plan_sections(make_plan(1e22)))


def test_draws_that_reach_nothing_are_counted():
    answer = solve(get_source("besiroglu2024"), Goals(2.5e25, 1.9))
    assert 0 < answer.unreachable < 0.5
    assert "of the law's draws no model does what was asked" in describe_answer(answer)


def test_a_law_that_answers_for_another_is_named():
    """Repeats are not priced by a frontier: what the lender says is not the asked law's loss."""
    told = describe_answer(solve(get_source("hoffmann2022_isoflop"), Goals(1e22, data_limit=1e10)))
    assert told.endswith("by muennighoff2023, whose losses are those of its own text")
    assert "with serving" not in told
    assert "by " not in describe_answer(solve(get_source("hoffmann2022"), Goals(1e22)))
