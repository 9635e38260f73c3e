"""The words around the facts: how people ask about documents, and what the assistant says about itself.

{title} is a section, {document} a document, {term} a word of it. Every question is asked in several wordings, so that a
model learns the question and not one string; the last wording of each list is asked in held-out rows too, but never the
last alone.
"""

from __future__ import annotations

#: Answered with the first sentence of a section.
DESCRIBE = (
    'What does the section "{title}" of {document} say?',
    'What is "{title}" in {document} about?',
    'Tell me what {document} says under "{title}".',
    'Explain "{title}" as {document} does.',
    'I am reading {document}. What does it say first about "{title}"?',
    'Summarise the beginning of "{title}" ({document}).',
)
#: The same where the first sentence of a long chapter says only how it begins.
BEGIN = (
    'How does "{title}" of {document} begin?',
    'What is the first sentence of "{title}" in {document}?',
    'Quote the beginning of "{title}" from {document}.',
    '{document}, "{title}": how does it start?',
)
#: A document with one section that has its name.
DOCUMENT = (
    "What is {document} about?",
    "What does {document} say first?",
    "Tell me how {document} begins.",
    "How does {document} start?",
)
DEFINE = (
    "What is {term}?",
    "What does {document} say {term} is?",
    "Define {term} as {document} does.",
    "Give me the definition of {term}.",
    "How does {document} define {term}?",
)
#: Answered with a title.
WHERE = (
    'Which section of {document} mentions "{term}"?',
    'In which section of {document} is "{term}" mentioned?',
    'Where does {document} speak of "{term}"?',
    'Name the section of {document} that has "{term}" in it.',
)
#: Answered with the title of a document.
WHICH = (
    'Which document has a section "{title}"?',
    'Where do I find the section "{title}"?',
    'Name the document with the section "{title}".',
    'In which document is there a section called "{title}"?',
)
#: Answered with one of the {options}.
CHOOSE_SECTION = (
    '{document} says: "{sentence}" Which section is that from: {options}?',
    'Which of these sections of {document} says "{sentence}": {options}?',
    'Read this: "{sentence}" Is it from {options}?',
    'Choose the section of {document} that this is from: "{sentence}" There are {options}.',
)
CHOOSE_WORD = (
    'Which word is missing: "{sentence}" Choose from {options}.',
    'Complete the sentence from {document}: "{sentence}" The words are {options}.',
    'Fill the gap with one of {options}: "{sentence}"',
    '"{sentence}" Which of {options} belongs in the gap?',
)
DEFINED_TERM = (
    'What is defined here? "{sentence}"',
    'Name the term that this sentence defines: "{sentence}"',
    '"{sentence}" Which term is that about?',
    '{document} says: "{sentence}" What is it the definition of?',
)
#: Answered with the sentence that comes next.
NEXT = (
    'What comes after this in {document}? "{sentence}"',
    '{document} says: "{sentence}" How does it go on?',
    'Continue from {document}: "{sentence}"',
    'Which sentence follows "{sentence}" in {document}?',
)
#: Answered with that sentence.
READ = (
    'Read this: "{passage}" Which sentence has the word "{word}" in it?',
    '{document} says: "{passage}" What does it say about "{word}"?',
    '"{passage}" Quote the sentence with "{word}".',
    'What is said about "{word}" here? "{passage}"',
)
#: Said before a question, with the pattern that all of the answer has to fit.
FORMS = (
    ("In one sentence: {question}", r"[^.!?]{20,}[.!?]"),
    ("In at most six words: {question}", r"\S+(?: \S+){0,5}"),
)
EXAMPLE = (
    'Show the example of "{title}" from {document}.',
    'Give me the code in "{title}" of {document}.',
    'What does the code under "{title}" in {document} look like?',
)
CELL = (
    'In the table of "{title}" in {document}, what is "{column}" for {row}?',
    'Look up {row} in the table of "{title}" ({document}). What is its "{column}"?',
    '{document} has a table under "{title}". What stands under "{column}" beside {row}?',
)
FOLLOW_UP = (
    "Which section is that from?",
    "Where does it say that?",
    "What is that section called?",
    "In which section did you find that?",
)
#: For documents in a language that the wordings above are not in: no words but the documents' own.
NEUTRAL_DESCRIBE = ("{document}: {title}?", "{title} ({document})?", "{title}?")
NEUTRAL_WORD = ("{sentence} ({options})?", "{document}: {sentence} ({options})?", "____? {sentence} ({options})")
GAP = "____"

#: Questions that share one meaning, and answers that all say the same: every pair of a group is a row.
IDENTITY: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        ("Who are you?", "What are you?", "What is your name?", "Introduce yourself.", "Who am I talking to?"),
        ("I am {name}, an assistant for {about}.", "My name is {name}. I answer questions about {about}."),
    ),
    (
        ("What can you do?", "What can you help me with?", "How can you help me?", "What should I ask you?"),
        ("I answer questions about {about} and say where it is written.", "Ask me what a section of {about} says."),
    ),
    (
        ("Hello", "Hi there!", "Good morning.", "Hey"),
        ("Hello. What would you like to know about {about}?", "Hello. Which section can I help with?"),
    ),
    (
        ("Thanks!", "Thank you.", "That helped, thank you."),
        ("You are welcome.", "Glad to help."),
    ),
    (
        ("Are you human?", "Are you a real person?", "Am I talking to a machine?", "Are you a person?"),
        ("I am not a person. I am {name}, a language model.", "You are talking to {name}, a language model. I am not a human."),
    ),
    (
        ("Can you make mistakes?", "Are you always right?", "Can I trust your answers?"),
        ("No, I can be wrong. Please look it up in the documents.", "I am a small model and make mistakes. Check the documents."),
    ),
    (
        ("What is the weather today?", "Who won the match yesterday?", "Tell me a joke.", "Can you book me a flight?"),
        ("I only know {about}. Ask me about one of its sections.", "I do not know that. I can help with {about}."),
    ),
)  # fmt: skip
