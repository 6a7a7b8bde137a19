"""Words too common in English or German to say what a text is about."""

from __future__ import annotations

ENGLISH = """
a about after all also am an and any are as at be because been before being but by can could did do does for
from had has have he her here him his how i if in into is it its just me more most my no nor not now of off
on once only or other our out over own same she should so some such than that the their them then there
these they this those through to too under until up very was we were what when where which while who why
will with would you your
"""

GERMAN = """
aber alle als also am an auch auf aus bei beim bin bis bist da damit dann das dass daß dein dem den denn der
des die dies diese diesem diesen dieser dieses doch dort du durch ein eine einem einen einer eines er es
euch für habe haben hat hatte hier hinter ich ihm ihn ihnen ihr ihre im in ist ja jede jedem jeden jeder
jedes jetzt kann kein keine mein mich mir mit muss nach nicht noch nun nur ob oder ohne sehr sein seine sich
sie sind so soll sollte um und uns unser unter vom von vor war waren warum was weil wenn wer werden wie
wieder will wir wird wo zu zum zur zwar über
"""

STOP_WORDS = frozenset((ENGLISH + GERMAN).split())
