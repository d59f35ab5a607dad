"""Settings that are made of others: weighted sums, objectives of joint networks, networks of networks."""

import pytest

from gendistill.errors import SettingError
from gendistill.plan import build_plan
from gendistill.plan.nested import members_of

SMALL = ("seeds=[0]", "scratch=0", "transfer=[]", "claims=[]", "figures=[reliability]")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Caches lie below the current directory."""
    monkeypatch.chdir(tmp_path)


def plan_of(objective="kd", patriarch="{}", *more, network="resnet8"):
    line = f"{{objective: {objective}, network: {network}, patriarch: {patriarch}, generations: 1}}"
    # The demo's own lineages are left out.
    return build_plan(["demo"], (f"lineages={{line: {line}}}", "~lineages.ban", "~lineages.tolerant", *SMALL, *more))


def student_of(plan):
    return plan.steps[plan.roles["demo-line-gen1-seed0"]]


def test_a_sum_has_whole_settings_needs_and_code_of_its_terms():
    student = student_of(plan_of("{name: sum, terms: {kd: {weight: 0.5, temperature: 2}, far: {name: rkd, label_weight: 0}}}"))
    objective = student.settings["objective"]
    assert {key: term["weight"] for key, term in objective["terms"].items()} == {"kd": 0.5, "far": 1.0}
    assert objective["terms"]["kd"]["temperature"] == 2
    assert objective["terms"]["kd"]["alpha"] == 0.9
    assert objective["terms"]["far"]["angle_weight"] == 50
    assert objective["needs"] == ["features", "teacher_features"]
    assert {"gendistill.objectives.kd", "gendistill.objectives.rkd"} <= set(student.code)
    # It looks inside the teacher, which has to run.
    assert "teacher" in student.inputs
    assert "softlabels" not in student.inputs


def test_a_weight_or_a_setting_of_a_term_changes_the_id_and_a_key_too():
    texts = ["kd: {weight: 1.0}", "kd: {weight: 2.0}", "kd: {weight: 1.0, alpha: 0.5}", "other: {name: kd, weight: 1.0}"]
    ids = [student_of(plan_of(f"{{name: sum, terms: {{{text}}}}}")).id for text in texts]
    assert len(set(ids)) == len(ids)
    assert ids[0] == student_of(plan_of("sum")).id


def test_alone_may_be_a_name_or_a_mapping():
    network = "{name: augmented, networks: [resnet8]}"
    patriarch = "{network: resnet8}"
    by_name = student_of(plan_of("{name: netaug, alone: kd}", patriarch, network=network))
    # The student is what is taken out; its training is behind it.
    assert by_name.kind == "member"
    by_mapping = student_of(plan_of("{name: netaug, alone: {name: kd}}", patriarch, network=network))
    warmer = student_of(plan_of("{name: netaug, alone: {name: kd, temperature: 9}}", patriarch, network=network))
    assert by_name.id == by_mapping.id != warmer.id


def test_members_of_each_joint_network():
    assert members_of({"name": "resnet8"}) == []
    assert members_of({"networks": [{}, {}, {}], "members": "networks"}) == ["peer1", "peer2", "peer3"]
    assert members_of({"networks": [{"reductions": [1, 2, 4]}], "members": "groups"}) == ["exit3", "exit1", "exit2", "ensemble"]
    assert members_of({"networks": [{}], "members": ["single", "ensemble"]}) == ["single", "ensemble"]


PEERS = "{objective: mutual, network: {name: peers, networks: [resnet8, resnet8]}}"
REFUSED = {
    "an empty sum": ("{name: sum, terms: {}}", "{}", r"objective\.terms = {}: must name at least one objective"),
    "a negative weight": ("{name: sum, terms: {kd: {weight: -1}}}", "{}", r"objective\.terms\.kd\.weight = -1: must be a number"),
    "an unknown term": ("{name: sum, terms: {kp: {}}}", "{}", r"objective = kp: there is no such objective. Allowed: .*rkd"),
    "a typo in a term": ("{name: sum, terms: {kd: {alhpa: 1}}}", "{}", r"objective\.alhpa = 1: unknown setting of objective kd"),
    "a value in a term": ("{name: sum, terms: {kd: {temperature: 0}}}", "{}", r"objective\.temperature = 0: not allowed"),
    "a weight alone": ("{name: sum, terms: {kd: 1.0}}", "{}", r"objective\.terms\.kd = 1(\.0)?: must be a mapping of its weight"),
    "peers for labels": ("kd", PEERS.replace("mutual", "cross_entropy"), r"it trains one network, but peers is several"),
    "exits of text": (
        "kd",
        PEERS.replace("peers", "multi_exit").replace("mutual", "own_teacher").replace("[resnet8, resnet8]", "[lstm_small]"),
        r"it is for text",
    ),
    "a sum in a sum": ("{name: sum, terms: {sum: {}}}", "{}", r"objective\.terms\.sum = sum: a term is no sum itself"),
    "a part that stops": ("{name: sum, terms: {kd: {distil_until: 0.5}}}", "{}", r"objective\.terms\.kd = kd: .* distil_until"),
    "alone with needs": (
        "kd",
        PEERS.replace("mutual", "{name: mutual, alone: rkd}"),
        r"objective\.alone = rkd: must be an objective of",
    ),
    "alone of a student": ("kd", PEERS.replace("mutual", "{name: mutual, alone: kd}"), r"it trains a student as it is made up"),
    "one network for peers": ("kd", "{objective: mutual}", r"it needs peer_logits, which the network resnet8 does not give"),
    "another objective": ("kd", PEERS.replace("mutual", "own_teacher"), r"it needs exit_logits, which the network peers does not"),
    "an unknown peer": (
        "kd",
        PEERS.replace("}}", ", takes: peer3}}"),
        r"network\.takes = peer3: must be one of peer1, peer2, or null",
    ),
    "an unknown network": ("kd", PEERS.replace("[resnet8", "[resnet9"), r"network = resnet9: there is no such network"),
    "peers of peers": (
        "kd",
        PEERS.replace("[resnet8", "[peers"),
        r"network = peers: a joint network is not made of joint networks",
    ),
    "a peer that shares": (
        "kd",
        PEERS.replace("[resnet8", "[{name: match_wrn_1_1, shares: [stem]}"),
        r"match_wrn_1_1 has shares = \['stem'\]: a network in a joint one shares no layers",
    ),
    "an infinite weight": (
        "{name: sum, terms: {kd: {weight: inf}}}",
        "{}",
        r"objective\.terms\.kd\.weight = inf: must be a number",
    ),
    "no weight at all": ("{name: sum, terms: {kd: {weight: nan}}}", "{}", r"objective\.terms\.kd\.weight = nan: must be"),
    "weights of zero": ("{name: sum, terms: {kd: {weight: 0}, rkd: {weight: 0}}}", "{}", r"objective\.terms: all weights are 0"),
    "a number as a name": ("{name: sum, terms: {1: {name: kd}}}", "{}", r"objective\.terms: 1: must be a name"),
    "a share above one": (
        "{name: sum, distil_until: 2.0}",
        "{}",
        r"objective\.distil_until = 2(\.0)?: must be a share",
    ),
    "a negative share": ("{name: sum, distil_until: -1}", "{}", r"objective\.distil_until = -1: must be a share of the epochs"),
    "stages of two lengths": (
        "{name: sum, terms: {fsp: {first_stage: 0.1}, fitnets: {first_stage: 0.5}, rkd: {}}}",
        "{}",
        r"fsp\.first_stage = 0\.1, fitnets\.first_stage = 0\.5: first stages of one sum are one",
    ),
    "peers that stop": (
        "kd",
        PEERS.replace("mutual", "{name: sum, terms: {mutual: {}}, distil_until: 0.5}"),
        r"objective\.distil_until = 0\.5: then the labels alone would train one network of peers",
    ),
    "branches of more groups than there are": (
        "kd",
        "{objective: one, network: {name: branched, networks: [resnet8], separate: 4}}",
        r"network\.separate = 4: resnet8 has 3 groups, so it must be at most 3",
    ),
    "peers that never begin": (
        "kd",
        PEERS.replace("mutual", "{name: sum, terms: {mutual: {weight: 0}, cross_entropy: {}}}"),
        r"those that train all networks of peers have weight 0",
    ),
    "text among images": ("kd", PEERS.replace("[resnet8", "[lstm_small"), r"network = lstm_small: it is for text"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_go_together_is_refused(case):
    objective, patriarch, message = REFUSED[case]
    with pytest.raises(SettingError, match=message):
        plan_of(objective, patriarch)


BRANCHES = "{objective: one, network: {name: branched, networks: [resnet8], takes: ensemble}}"


def test_an_ensemble_teaches_by_its_logits_only():
    plan = plan_of("kd", BRANCHES)
    assert plan.steps[plan.roles["demo-line-gen0-seed0"]].settings["taken"] == "ensemble"
    with pytest.raises(SettingError, match="objective = rkd: it needs layers of the teacher of generation 1, which is an ensemble"):
        plan_of("rkd", BRANCHES)
    with pytest.raises(
        SettingError, match=r"network\.takes = ensemble: an ensemble has no features of its own, which transfer needs"
    ):
        plan_of("kd", BRANCHES, "transfer=[digits8x8]")


def test_an_objective_of_layers_is_refused_for_a_joint_student():
    network = "{name: augmented, networks: [resnet8]}"
    with pytest.raises(SettingError, match="objective = sum: it needs features of one network, but augmented is several"):
        plan_of("{name: sum, terms: {netaug: {alone: kd}, rkd: {}}}", "{network: resnet8}", network=network)


def test_mixup_is_refused_where_gradients_are_matched():
    with pytest.raises(SettingError, match=r"recipe\.mixup = 0\.2: not with objective = attention_gradient"):
        plan_of("attention_gradient", "{}", "recipe.mixup=0.2")


def test_paths_of_layers_of_their_own_are_not_compared_before_training():
    student_of(plan_of("{name: fitnets, taps: {student: [groups.0], teacher: [groups.1]}}", "{network: vgg8}"))
    with pytest.raises(SettingError, match=r"objective = nst: maps of .* cannot be matched"):
        plan_of("nst", "{network: vgg8}")


@pytest.mark.parametrize("objective", ["{name: fitnets, %s}", "{name: sum, terms: {fitnets: {%s}}}"])
def test_as_many_layers_of_student_and_teacher_are_named(objective):
    taps = "taps: {student: [groups.0], teacher: [groups.1, groups.2]}"
    with pytest.raises(SettingError, match=r"objective\.taps: 1 layers of the student and 2 of the teacher .* Set it in"):
        plan_of(objective % taps, "{network: vgg8}")
