"""The catalogue: its names are a contract, and what an entry may say."""

import re

import pytest

from streams.engagement import FAMILIES, FAMILY_BY_NAME, layout
from streams.facts import FACTS
from streams.kpis import KPIS
from streams.panes import DAY, MINUTE, Pane
from streams.rollups import KEPT, pane_size_of
from streams.windows import Live

FACT_OF = {fact.type: fact for fact in FACTS}
MEASURES = pytest.mark.parametrize("kpi", KPIS, ids=lambda kpi: kpi.name)


def test_names_are_the_contract():
    names = """
        page_views active_visitors daily_visitors weekly_visitors monthly_visitors sessions
        bounce_rate engagement_rate pages_per_session pages_per_session_p90 session_duration session_duration_median
        session_duration_p90 reviews mean_rating low_rating_share rating_1_share rating_2_share
        rating_3_share rating_4_share rating_5_share review_sentiment mentions share_of_voice
        texts_scored negative_share vader_negative_share neutral_share positive_share net_sentiment mean_sentiment
        complaints complaint_share pattern_version unsupported_share feedback_volume
        session_conversion_rate goal_action_rate local_referral_share local_conversion_rate interactions
        impressions interaction_rate like_rate comment_rate share_rate follow_rate
        composite_interaction_rate follower_growth email_delivery_rate email_open_rate email_click_through_rate email_click_to_open_rate
        email_unsubscribe_rate email_complaint_rate engaged_time engaged_time_median scroll_depth video_completion_rate
        watch_time downloads visitor_conversion_rate cart_abandonment checkout_abandonment orders
        average_order_value refund_share funnel_completion_rate funnel_step_rate funnel_drop_off funnel_step_seconds_median
        funnel_step_seconds_p90 long_funnel_completion_rate long_funnel_step_rate long_funnel_drop_off long_funnel_step_seconds_median
        long_funnel_step_seconds_p90 payment_failures tickets response_in_target_share support_response_time support_response_time_median
        support_response_time_p90 resolution_time_median trial_conversion_rate
    """
    assert [kpi.name for kpi in KPIS] == names.split()


def test_names_of_facts_are_in_the_keys_of_rows():
    names = """
        page_view presence session session_goal daily_visitor weekly_visitor monthly_visitor review
        mention text complaint engagement audience_change sending mailing page_read play
        download conversion funnel_entry funnel_step funnel_step_time long_funnel_entry long_funnel_step long_funnel_step_time cart checkout order
        ticket response resolution payment_failure trial
    """
    assert [fact.name for fact in FACTS] == names.split()
    assert {fact.type for fact in FACTS} == set(FAMILIES), "every fact is measured"


def test_names_are_unique():
    assert len({kpi.name for kpi in KPIS}) == len(KPIS)
    assert len(FAMILY_BY_NAME) == len(FACTS)


@MEASURES
def test_an_entry_is_complete(kpi):
    assert re.fullmatch(r"[a-z][a-z0-9_]*", kpi.name), "safe as the name of a metric"
    assert not kpi.name.endswith(("_total", "_bucket", "_sum", "_count", "_created", "_info"))
    for text in (kpi.help, kpi.question, kpi.formula, kpi.origin):
        assert text.strip() == text != ""
        assert "|" not in text
        assert "\n" not in text
    assert kpi.help.endswith(".")
    assert kpi.question.endswith("?")
    assert kpi.unit in {"count", "ratio", "seconds", "pages", "stars", "score", "minor", "version"}
    assert kpi.better in {"higher", "lower", "neither"}
    assert kpi.tag in {"actionable", "vanity"}
    assert kpi.windows
    assert len(set(kpi.windows)) == len(kpi.windows)
    assert kpi.matures % MINUTE == 0
    assert (kpi.least > 0) is (kpi.unit != "count")


@MEASURES
def test_groupings_are_label_sets_of_the_fact(kpi):
    fact = FACT_OF[kpi.value.fact]
    assert kpi.by
    assert len(set(kpi.by)) == len(kpi.by)
    for grouping in kpi.by:
        assert grouping
        assert set(grouping) <= set(fact.labels)
        assert len(set(grouping)) == len(grouping)


@MEASURES
def test_windows_can_be_read_from_the_panes_kept(kpi):
    family = FAMILIES[kpi.value.fact]
    for window in kpi.windows:
        size = pane_size_of(window, family)
        assert size in family.fact.panes
        if isinstance(window, Live):
            assert size is Pane.MINUTE
        elif isinstance(window, int):
            assert window % size == 0
            assert window + kpi.matures <= KEPT[size]
            assert size is not Pane.DAY or window % DAY == 0


def test_slots_have_names_by_which_stored_rows_are_read():
    for name, names in layout().items():
        family = FAMILY_BY_NAME[name]
        assert len(set(names)) == len(names) == len(family.slots)
        cell = [{5: 1} if slot.histogram else number + 1 for number, slot in enumerate(family.slots)]
        assert family.arranged(cell, names) == cell
        assert family.arranged(cell[::-1], names[::-1]) == cell, "whatever order they were stored in"
        assert family.arranged([1], ["gone.0"]) == family.empty()
