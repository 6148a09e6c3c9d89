import io

from scaling.data.pubmed import abstracts


def citation(title, *parts):
    texts = "".join(f"<AbstractText>{part}</AbstractText>" for part in parts)
    return (
        "<PubmedArticle><MedlineCitation><Article>"
        f"<ArticleTitle>{title}</ArticleTitle><Abstract>{texts}</Abstract>"
        "</Article></MedlineCitation></PubmedArticle>"
    )


def test_title_and_parts_of_the_abstract():
    xml = (
        "<PubmedArticleSet>"
        + citation("On H<sub>2</sub>O.", "Water\n  is wet.", "", "It <i>is</i>.")
        + citation("No abstract.")
        + "<PubmedArticle><MedlineCitation/></PubmedArticle>"
        + citation("Second.", "Yes &amp; no.")
        + "</PubmedArticleSet>"
    )
    found = list(abstracts(io.BytesIO(xml.encode())))
    assert found == ["On H2O.\nWater is wet.\nIt is.", "Second.\nYes & no."]
