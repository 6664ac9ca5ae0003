"""Behaviour cloning (Ross, Gordon and Bagnell 2011, arXiv:1011.0686, section 2.1) by an oracle that knows who was
competent: min E_competent[-log pi(a_t..t+h | s_t)].

Only frames at which a competent operator was at work are drawn, and no chunk reaches past the last one of them: what
the operators of an episode's other parts did is never seen. A ceiling for policies that must find out by rewards what
is good in the data; no policy that anybody could train on data of unknown quality.
"""

from __future__ import annotations

from robo_orl.objectives.bc import BC


class OracleCompetent(BC):
    """Behaviour cloning on the frames of competent operators (data/competence.py); the loss is BC's."""

    competent_only = True
