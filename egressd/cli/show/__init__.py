"""How values look on a terminal: pure functions from values to `rich` renderables.

What a command has found comes in (`Notice`, rows of a table, lines), what is drawn goes out; nothing
here prints, reads the environment or knows a command. `layout` decides by width and needs no `rich`;
the other modules import it when they are called for a terminal, and are never imported for a pipe.
"""
