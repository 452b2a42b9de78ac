/**
 * The letters with case, beyond ASCII, of the pre-tokenizer `deepseek-llm`: a list that the model's authors fixed, not a
 * property of any Unicode version. First code point and number of further ones, base 36.
 * @module
 */
const LETTERS =
  "51 5c-m 60-u 6w-5e cc-3 ck-5r id-q og-3 om on or-2 ov p2 p4-2 p8 pa-j pv-2a s7-3u wa-4l 10x-11 3a8-11 3vk-2d 3y0-5 " +
  "5n4-16 5od-2 5q8-17 5t7-c 5tl-x 5xc-7p 654-5 65c-11 66g-5 66o-7 66x 66z 671 673-u 680-1g 69i-6 69q 69u-2 69y-6 6a8-3 " +
  "6ae-5 6ao-c 6b6-2 6ba-6 6iq 6iv 6iy-9 6j9 6jd-4 6jo 6jq 6js 6ju-3 6jz-5 6k9 6kc-3 6kl-4 6ku 6mb 6mc 8ow-3f 8se-2u " +
  "8vf-3 8vm 8vn wu8-19 ww0-r x0i-25 x2p-m x3f-3 xv4-27 1dkw-6 1dlf-4 1ee9-p 1ef5-p 1fcw-27 1fhs-z 1fiw-z 1h1c-1e " +
  "1h34-1e 1jfk-1r 2olc-1v";

/** First and last code point. */
export const LETTER_RANGES: readonly (readonly [number, number])[] = LETTERS.split(" ").map((range) => {
  const [first, further = "0"] = range.split("-");
  const start = Number.parseInt(first!, 36);
  return [start, start + Number.parseInt(further, 36)];
});
