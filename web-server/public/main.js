import { Chat } from './chat.js';
import { localize, pickLanguage, translator } from './i18n.js';
import { View } from './view.js';

const language = pickLanguage(navigator.languages);
const t = translator(language);

document.documentElement.lang = language;
localize(document, t);

const view = new View(t, language);
view.serve(new Chat(view));
