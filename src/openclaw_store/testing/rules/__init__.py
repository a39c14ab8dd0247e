"""The rules, a file each: each looks through the evidence once and yields what it finds."""
