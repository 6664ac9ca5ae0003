from robo_orl.api import evaluate_policy as evaluate_policy
from robo_orl.api import generate_data as generate_data
from robo_orl.api import held_out_errors as held_out_errors
from robo_orl.api import record_data as record_data
from robo_orl.api import tables as tables
from robo_orl.api import train_policy as train_policy
from robo_orl.base.plugins import register as register
from robo_orl.evaluate.policy import Policy as Policy
from robo_orl.evaluate.policy import load_policy as load_policy

__version__: str
