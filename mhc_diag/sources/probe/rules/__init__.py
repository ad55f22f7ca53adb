"""What each operation does to the tangents of the streams, by family; `table` lists them all."""
