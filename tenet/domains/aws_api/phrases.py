"""The words around the facts: how people ask, and what the assistant says about itself.

Everything here was written for Tenet. The facts in the answers come from botocore; the wording of the questions is
varied so that a small model learns the question and not one string.
"""

from __future__ import annotations

DESCRIBE = (
    "What does {operation} of {title} do?",
    "What is the {operation} operation of {title} for?",
    "Explain {operation} of {title} in one or two sentences.",
    "In {title}, what happens when I call {operation}?",
    "Tell me what {operation} does. The service is {title}.",
    "I came across {operation} in {title}. What is it?",
)
#: {task} reads "deletes a table", {goal} reads "delete a table".
COMMAND = (
    "Give the AWS CLI command that {task}. The service is {title}.",
    "Which AWS CLI command of {title} {task}?",
    "I use {title} and need the command line that {task}.",
    "Show me the aws command that {task} ({title}).",
)
COMMAND_OF = (
    "What is the AWS CLI command for {operation} of {title}?",
    "How do I run {operation} of {title} from the command line?",
    "Write {operation} of {title} as an AWS CLI command.",
)
FOLLOW_UP = (
    "What is the command for it?",
    "And how do I run it from the command line?",
    "Show me the CLI command.",
    "Which aws command is that?",
)
FIND = (
    "Which operation of {title} {task}?",
    "Name the operation of {title} that {task}.",
    "I use {title}. What is the name of the operation that {task}?",
    "In {title}, which API call {task}?",
)
#: Half of them name no service, as people do: the verb and the noun are in the operation's name.
HOW_TO = (
    "How do I {goal} with {title}?",
    "I want to {goal} in {title}. What do I call?",
    "Show me how to {goal}. The service is {title}.",
    "I use {title}. Tell me how to {goal}.",
    "How do I {goal}?",
    "How can I {goal}?",
    "I want to {goal}. What do I call?",
    "Help me to {goal}.",
)
#: {values} reads 'table name "orders" and limit 5'.
CALL = (
    "Call {operation} with {values}.",
    "Please run {operation} with {values}.",
    "Use {operation}, with {values}.",
    "I need {operation} for {values}.",
    "Can you call {operation} with {values}?",
    "{operation}, please: {values}.",
)

#: Questions that share one meaning, and answers that all say the same: every pair of a group is a row.
IDENTITY: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        (
            "Who are you?",
            "What are you?",
            "What is your name?",
            "Introduce yourself.",
            "Hello, who is this?",
            "Who am I talking to?",
        ),
        ("I am Tenet, an assistant for the AWS API.", "My name is Tenet. I answer questions about the AWS API."),
    ),
    (
        ("What can you do?", "What can you help me with?", "How can you help me?", "What do you know?", "What should I ask you?"),
        (
            "I explain operations of AWS services, name the operation for a task, and write commands and tool calls.",
            "Ask me what an AWS operation does, which operation you need, or for the command that does it.",
        ),
    ),
    (
        ("Hello", "Hi", "Hi there!", "Good morning.", "Hey"),
        ("Hello. Which AWS operation can I help with?", "Hello. What would you like to know about AWS?"),
    ),
    (
        ("Thanks!", "Thank you.", "Great, thanks.", "That helped, thank you."),
        ("You are welcome.", "Glad to help."),
    ),
    (
        ("Are you human?", "Are you a person?", "Are you a real person?", "Am I talking to a machine?"),
        ("No, I am Tenet, a language model.", "I am not a person. I am Tenet, a small language model."),
    ),
    (
        ("Who made you?", "Where do you come from?", "How were you trained?", "What were you trained on?"),
        (
            "I was trained by the Tenet pipeline on the documentation of the AWS API.",
            "I am a model from the Tenet project, trained on AWS API documentation.",
        ),
    ),
    (
        ("Can you make mistakes?", "Are you always right?", "Can I trust your answers?", "How reliable are you?"),
        (
            "No, I can be wrong. Please check the AWS documentation before you act.",
            "I am a small model and make mistakes. Check important answers in the AWS documentation.",
        ),
    ),
    (
        ("Can you see my AWS account?", "Do you have access to my account?", "Do you know my password?", "Can you read my data?"),
        ("No. I have no access to your account or your data.", "No, I only know the documentation. I cannot see any account."),
    ),
    (
        ("Goodbye", "Bye!", "See you later.", "That is all for today."),
        ("Goodbye.", "Goodbye. Come back any time."),
    ),
    (
        ("What is the weather today?", "Who won the match yesterday?", "Tell me a joke.", "Can you book me a flight?"),
        (
            "I only know the AWS API. Ask me about one of its operations.",
            "That is not something I know. I can help with the AWS API.",
        ),
    ),
)  # fmt: skip
