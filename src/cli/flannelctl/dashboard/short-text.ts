// Texts that other hosts tell, no longer than the page has room for.

const MAX_TEXT_LENGTH = 400;

export function shortText(text: string): string {
  return text.length > MAX_TEXT_LENGTH ? `${text.slice(0, MAX_TEXT_LENGTH)}…` : text;
}
