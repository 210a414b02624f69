from html.parser import HTMLParser

from sparse_engine.measure.html_page import html_table, page


class Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_a_page_closes_what_it_opens_and_text_stays_text():
    elements = Elements()
    elements.feed(page("a < b", [html_table(["name", "<th>"], [["<script>", "1 & 2"], ["b", "3"]])]))
    assert elements.open == []
    assert "script" not in elements.seen
    assert (elements.seen.count("tr"), elements.seen.count("td"), elements.seen.count("th")) == (3, 4, 2)
    assert {"a < b", "<th>", "<script>", "1 & 2"} <= set(elements.text)
