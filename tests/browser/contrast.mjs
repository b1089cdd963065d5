/** The contrast of the page's colours, as WCAG 2 defines it. */

/** Texts and what they stand on, as custom properties of theme.css. */
const PAIRS = [
  ['--text', '--page'],
  ['--text', '--surface'],
  ['--text', '--raised'],
  ['--text', '--whisper-soft'],
  ['--text', '--danger-soft'],
  ['--muted', '--page'],
  ['--muted', '--surface'],
  ['--muted', '--raised'],
  ['--muted', '--hover'],
  ['--accent', '--accent-soft'],
  ['--on-accent', '--accent'],
  ['--on-accent', '--accent-hover'],
  ['--on-mine', '--mine'],
  ['--on-warn', '--warn-soft'],
  ['--whisper', '--surface'],
  ['--whisper', '--whisper-soft'],
  ['--danger', '--surface'],
  ['--danger', '--danger-soft'],
  ['#ffffff', '--whisper-mine'],
];

/** Returns the pairs below 4.5 : 1, and the avatars with letters below it. */
export async function lowContrasts(page) {
  return page.evaluate((pairs) => {
    const style = getComputedStyle(document.documentElement);
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const luminance = (color) => {
      canvas.fillStyle = color.startsWith('--') ? style.getPropertyValue(color) : color;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((part) => {
        const share = part / 255;
        return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const contrast = (one, other) => {
      const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
      return (high + 0.05) / (low + 0.05);
    };
    const light = style.getPropertyValue('--avatar-light');
    const avatars = Array.from({ length: 360 }, (_, hue) => ['#ffffff', `oklch(${light} 0.11 ${hue})`]);
    return [...pairs, ...avatars]
      .map(([one, other]) => [one, other, contrast(one, other).toFixed(2)])
      .filter(([, , value]) => value < 4.5);
  }, PAIRS);
}
