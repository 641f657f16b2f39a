"""Command line that both roles share."""
import argparse


def parser(description):
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--sdist", required=True, help="autobahntestsuite-*.tar.gz, which holds the case definitions")
    p.add_argument("--suite", default="*", help="the cases there are, comma separated, for example '1.*,2.3'")
    p.add_argument("--cases", default="*", help="which of them to run")
    p.add_argument("--exclude", default="")
    p.add_argument("--agent", default="nexios", help="name in the report")
    p.add_argument("--out", default="", help="folder for index.json with everything that was seen")
    p.add_argument("--expected", default="", help="committed results to compare with")
    p.add_argument("--bless", action="store_true", help="write the committed results from this run when every case passes")
    p.add_argument("--case-timeout", type=int, default=120, help="seconds")
    return p
