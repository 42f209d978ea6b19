"""`python -m open_instruct_flip` is the `flip` command."""

from open_instruct_flip.commands.main import main

if __name__ == "__main__":
    main()
