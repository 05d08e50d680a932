// What the panels are filled with, so that one click shows something.

export const SENTENCES = [
  "How do I reset my password?",
  "I forgot my login and cannot get in.",
  "The invoice shows the wrong amount.",
  "I was charged twice this month.",
  "Where can I download the mobile app?",
  "Is there a version for Android phones?",
];

export const QUERY = "How do I get my money back?";

export const DOCUMENTS = [
  "Refunds are paid to the card you used, within five working days.",
  "You can change your delivery address until the parcel is sent.",
  "If an item arrives broken, send us a photo and we return the amount.",
  "Our office is closed on public holidays.",
  "Gift cards cannot be exchanged for cash.",
];

export const OPINIONS = [
  "The battery lasts two days and the screen is gorgeous.",
  "It broke after a week and nobody answers my mails.",
  "The parcel came on Tuesday.",
];

export const PASSAGE = "Ada Lovelace wrote the first program in London, for a machine that Charles Babbage never finished.";
