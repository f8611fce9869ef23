"""Each engine that carries out the same six steps, and how it is started, asked and watched."""
