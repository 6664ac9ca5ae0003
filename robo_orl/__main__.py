"""`python -m robo_orl` and `accelerate launch -m robo_orl` are the command `robo-orl`."""

from robo_orl.cli.app import main

if __name__ == "__main__":
    main()
