"""Good queries and responses to answer with: plain spoken English, each a pure function of a seed.

Queries are frames filled from word banks, so different that MiniLM seldom takes two of them for
twins; nothing in them trips a rule about text that is spoken (8 to 30 words, ASCII, no
exclamation marks, no words of emotion).
"""

import random

# What a question is about: concrete and far apart, since likeness is mostly a matter of nouns.
THINGS = (
    """
sourdough starter|bicycle chain|tax form|rain barrel|violin lesson|passport photo|garden hose
smoke alarm|chess opening|camera lens|hiking boots|library card|parking permit|ceiling fan
tomato seedlings|laptop battery|wool sweater|fishing rod|coffee grinder|bookshelf|train ticket
swimming pool pass|piano tuner|bread knife|voter registration|telescope|printer cartridge
phone contract|window blinds|dishwasher filter|knitting pattern|electric scooter|beehive
compost heap|yoga mat|rental deposit|dentist appointment|museum guide|spreadsheet formula
leather jacket|aquarium pump|kayak paddle|crossword puzzle|sewing machine|backpack|wall paint
thermostat|birdhouse|rice cooker|running watch|snow shovel|guitar string|recycling bin|mattress
ferry timetable|drum kit|pottery wheel|water heater|flu vaccine|grocery list|car battery
stamp collection|desk lamp|hotel booking|pasta sauce|eyeglasses|solar panel|lawn mower
wedding invitation|dog leash|cat carrier|bus pass|mountain tent|microscope|garage door
password manager|insurance policy|savings account|school lunch|science project|birthday cake
driving test|night shift|job interview|board game|film festival|podcast microphone|oak table
raincoat|chili recipe|ski rental|tennis racket|wheelchair ramp|moving van|potato salad
video call|weather app|vinyl record|language course|history essay|fire extinguisher|hedge trimmer
allergy tablet|baby stroller|blender|surfboard|town map|pension plan|credit card
soccer practice|choir rehearsal|fruit orchard|goat cheese|sleeping bag|wristwatch|doorbell
ladder|curtain rail|oil change|tire pressure gauge|herb garden|street market|lighthouse tour
archery class|bonsai tree|candle mold|crab trap|dress rehearsal|espresso machine|flag pole
greenhouse|harmonica|ice rink|jigsaw|kettle|lemon tree|mail forwarding|noise barrier|olive press
picture frame|quilt|rowing club|sand castle contest|trombone|umbrella stand|vacuum cleaner
walnut cake|xylophone|yard sale|zipper|accounting course|blood pressure cuff|concert ticket
drone|exchange rate|first aid kit|ginger tea|hay bale|inkjet paper|juice press|key ring
""".replace("\n", "|")
    .strip("|")
    .split("|")
)

ACTS = (
    """
repair|borrow|replace|sell|order|clean|describe|compare|measure|find|choose|store|label|ship
paint|book|insure|schedule|photograph|donate|set up|hand over|register|carry|return|inspect
pick up|look after|test|adjust|share|wrap|explain|budget for|sketch|review|move|teach|reserve
""".replace("\n", "|")
    .strip("|")
    .split("|")
)

PLACES = (
    """
Lisbon|the town hall|my grandmother's attic|Oslo|the harbor|the second floor|our allotment
the community center|Nairobi|a small cabin in Vermont|the corner bakery|the physics lab
the bus depot|Kyoto|the basement|the post office|a farm near Leeds|the hospital lobby|Toronto
the train station|the office kitchen|Mexico City|the swimming hall|the hardware store|Prague
a shared apartment|the school gym|the airport|Cape Town|the theater|a campsite in Utah
the riverside path|the market square|Istanbul|the car park|the university canteen|Reykjavik
the pharmacy|the roof terrace|Buenos Aires|the laundry room|a lakeside village|Seoul|the bank
the dog park|Dublin|the warehouse|the botanical garden|Chicago|the ferry terminal|the museum
Auckland|the neighbor's shed|the fire station|Marseille|the recording studio|the print shop
""".replace("\n", "|")
    .strip("|")
    .split("|")
)

PEOPLE = (
    """
my uncle|our landlord|a retired nurse|my roommate|the plumber|two exchange students|my niece
the choir director|a coworker from accounting|my brother-in-law|the librarian|a bus driver
my daughter's teacher|the carpenter|an old classmate|the night manager|my cousin|the vet
a visiting chef|the building committee|my aunt|the postman|three volunteers|my neighbor
a new trainee|the tour guide|my grandfather|the referee|a tax adviser|the florist|my sister
the mechanic|a film student|the pharmacist|our team leader|my father|the gardener|a tourist
""".replace("\n", "|")
    .strip("|")
    .split("|")
)

TIMES = (
    """
before Thursday|this weekend|by the end of March|after breakfast|in the next two hours
during the summer break|on Sunday morning|at around six|before the winter|next month
within a week|late in the evening|during lunch|before my shift starts|in early autumn
once the rain stops|on the first of May|tomorrow afternoon|between two meetings|before dark
""".replace("\n", "|")
    .strip("|")
    .split("|")
)

FRAMES = (
    "How can I {act} the {thing} for {person} {time}?",
    "What should {person} know about the {thing} near {place}?",
    "Could you tell me where people {act} a {thing} in {place}?",
    "Explain how {person} would {act} the {thing} and the {other} {time}.",
    "Is it better to {act} the {thing} first, or to deal with the {other}?",
    "Give me three short steps to {act} a {thing} in {place}.",
    "I need to {act} the {thing} at {place} {time}, so where do I begin?",
    "Why does the {thing} from {place} cost more than the {other}?",
    "Which {thing} would you suggest for {person}, who lives close to {place}?",
    "How long does it take {person} to {act} a {thing} {time}?",
    "My {thing} stopped working at {place}; what could {person} check?",
    "Please help me write a short note to {person} about the {thing} in {place}.",
    "What is the usual price of a {thing} in {place}, and who can {act} it?",
    "Who do I call in {place} when the {thing} has to be ready {time}?",
    "Tell me what to pack for {place} besides the {thing} and the {other}.",
    "What happens if {person} forgets to {act} the {thing} {time}?",
    "Can the {thing} be kept next to the {other} at {place}?",
    "Walk me through how to {act} the {other} without moving the {thing}.",
    "How many people in {place} still use a {thing} instead of a {other}?",
    "Where did {person} leave the {thing}, and how do I {act} it {time}?",
    "Does {person} need a permit to {act} a {thing} close to {place}?",
    "List the tools that {person} needs to {act} a {thing} and a {other}.",
    "What is the history of the {thing} in {place}, in two or three sentences?",
    "Remind me how {person} used the {thing} at {place} to {act} the {other}.",
)

OPENINGS = (
    "I hear how much is on your plate with the {thing}, and it makes sense to ask.",
    "Thank you for telling me about the {thing}, because that is a lot to carry into {place}.",
    "It is clear that the {thing} matters to you, and I am right here to think it through.",
    "Anyone who had to {act} a {thing} {time} would look at it the way you do.",
    "What you say about {place} and the {thing} makes good sense to me.",
    "I can tell that the {thing} has been on your mind, so let us take it one piece at a time.",
)

ADVICE = (
    "Start with the {other}, then ask {person} to {act} the {thing} {time}.",
    "The simplest way is to {act} the {thing} at {place}, where somebody can show you the {other}.",
    "Most people in {place} {act} the {thing} first and leave the {other} for later.",
    "Call {person} {time} and have the number of the {thing} at hand before you {act} it.",
    "Put the {other} aside, check the {thing} once, and then {act} it with {person}.",
    "You can {act} the {thing} in about an hour if {person} brings the {other} to {place}.",
)

CLOSINGS = (
    "If that does not work {time}, come back to me and we will look at the {other} together.",
    "You have already done the harder half of it, and the rest can wait until {place} is open.",
    "Take the {other} slowly, and let {person} help you with whatever is left.",
    "By the time you reach {place}, the {thing} will be one thing less to think about.",
    "Let me know how it goes with {person}, and we can plan the next step {time}.",
    "One step {time} is enough, and the {other} will still be there afterwards.",
)

# Some anchors' responses must hold a word by which a listener recognises the state. The prompt
# names them; whichever it names is worked in.
RECOGNISED = {
    "gross": "That does sound gross, and nobody would want to stand near it for long.",
    "revolting": "That sounds revolting, and stepping away from it is the right thing to do.",
    "disgust": "Anyone would meet that with disgust, and keeping some distance is fair.",
    "exhausted": "You sound exhausted, and a quiet hour of rest would do you good first.",
    "drained": "You sound drained, and a little rest before all this would be no luxury.",
    "tired": "You sound tired, and there is no harm in a rest before you begin.",
}


def _filled(frame: str, choose: random.Random) -> str:
    thing, other = choose.sample(THINGS, 2)
    text = frame.format(
        act=choose.choice(ACTS),
        thing=thing,
        other=other,
        person=choose.choice(PEOPLE),
        place=choose.choice(PLACES),
        time=choose.choice(TIMES),
    )
    return text[0].upper() + text[1:]


def query(seed: int) -> str:
    """A question or instruction of one sentence."""
    choose = random.Random(seed)
    return _filled(choose.choice(FRAMES), choose)


def response(seed: int, prompt: str = "") -> str:
    """Three sentences; the second is one that recognises the state, if the prompt names it so."""
    choose = random.Random(seed)
    opening, advice, closing = (
        _filled(choose.choice(frames), choose) for frames in (OPENINGS, ADVICE, CLOSINGS)
    )
    recognised = next((text for word, text in RECOGNISED.items() if word in prompt), None)
    return " ".join(
        (opening, advice, closing) if recognised is None else (recognised, advice, closing)
    )
