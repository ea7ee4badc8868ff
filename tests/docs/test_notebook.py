"""The notebook of the documentation, run from its first block to its last."""

from markdown_it import MarkdownIt

from docs.generate import ROOT


def test_the_notebook_runs_on_a_run(whole, tmp_path, monkeypatch, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(whole)
    monkeypatch.chdir(tmp_path)
    page = MarkdownIt("commonmark").parse((ROOT / "docs" / "notebook.md").read_text())
    blocks = [token.content for token in page if token.type == "fence" and token.info == "python"]
    assert len(blocks) >= 6
    variables: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/notebook.md", "exec"), variables)
    said = capsys.readouterr().out
    assert "<Corpus small, 42 pairs, in runs/demo/corpus>" in said
    assert "short" in said  # what the server was told to answer at times, refused
    assert variables["failed"] == []
    assert said.endswith("0 0 {}\n")
