/** The page's words, in the languages it speaks. */

const EN = {
  tagline: 'A name, a room, and you are in.',
  nameLabel: 'Your name',
  namePlaceholder: 'e.g. alice',
  roomLabel: 'Room',
  roomPlaceholder: 'e.g. lobby',
  enter: 'Enter the room',
  entering: 'Entering…',
  noScript: 'This page needs JavaScript.',
  leave: 'Leave',
  people: 'People',
  peopleOpen: 'Show people ({count})',
  peopleClose: 'Close the list of people',
  everybody: 'Everybody',
  you: 'you',
  whisperTo: 'Whisper to {name}',
  messages: 'Messages',
  messageLabel: 'Your message',
  messageToAll: 'Message to everybody',
  messageToOne: 'Whisper to {name}',
  send: 'Send',
  targetAll: 'To everybody',
  targetOne: 'Whisper to {name}',
  targetGone: 'Whisper to {name}, who is not here',
  targetClear: 'Write to everybody again',
  newMessages: 'New messages',
  toNewest: 'To the newest message',
  whisperedToYou: 'whispers to you',
  whisperedTo: 'whisper to {name}',
  online: 'Online as {name}',
  offline: 'Offline',
  bannerLost: 'The connection to the server is lost. Reconnecting…',
  tryNow: 'Try now',
  notConnected: 'Not connected. Your message stays here until you are back.',
  bytesLeft: '{count} bytes left',
  bytesOver: '{count} bytes too long',
  tipEntered: 'You are in the room.',
  tipAlone: 'Nobody else is here yet. The address of this page leads others to the room.',
  tipBack: 'You are back. What was said in the meantime is not shown.',
  tipLost: 'The connection was lost.',
  tipJoined: '{name} came in.',
  tipLeft: '{name} left.',
  sending: 'Sending…',
  failed: 'Not delivered: {why}',
  unsure: 'Perhaps not delivered: {why}',
  retry: 'Send again',
  edit: 'Edit',
  discard: 'Remove',
  failed400: 'the server cannot read it.',
  failed413: 'it is too long.',
  failed429: 'too many messages at once. Wait a moment.',
  failed500: 'the server made an error.',
  failed503: 'the service is busy. Try again.',
  failedAbsent: '{name} is not in the room.',
  failedTimeout: 'the server did not answer.',
  failedClosed: 'the connection was lost.',
  problemTaken: 'Somebody in this room already has this name. Please choose another.',
  problemInvalid: 'The server does not accept this name or room.',
  problemBusy: 'The service is busy. Please try again in a moment.',
  problemNoServer: 'No chat server is available. Please try again in a moment.',
  problemRefused: 'The server made an error. Please try again.',
  problemUnreachable: 'The server cannot be reached. Please try again.',
  problemKicked: 'The server ended your session. {detail}',
  nameEmpty: 'Please fill this in.',
  nameLong: 'This is too long: at most 64 bytes.',
  nameStar: 'The character * cannot be used here.',
  nameCharacter: 'This contains a character that cannot be shown.',
};

const ZH = {
  tagline: '取个名字，选个房间，马上开聊。',
  nameLabel: '你的名字',
  namePlaceholder: '例如：小明',
  roomLabel: '房间',
  roomPlaceholder: '例如：大厅',
  enter: '进入房间',
  entering: '正在进入…',
  noScript: '本页面需要 JavaScript。',
  leave: '离开',
  people: '成员',
  peopleOpen: '显示成员（{count}）',
  peopleClose: '关闭成员列表',
  everybody: '所有人',
  you: '你',
  whisperTo: '对 {name} 说悄悄话',
  messages: '消息',
  messageLabel: '你的消息',
  messageToAll: '对所有人说',
  messageToOne: '对 {name} 说悄悄话',
  send: '发送',
  targetAll: '对所有人',
  targetOne: '对 {name} 说悄悄话',
  targetGone: '对 {name} 说悄悄话（对方不在）',
  targetClear: '改为对所有人说',
  newMessages: '新消息',
  toNewest: '跳到最新消息',
  whisperedToYou: '悄悄对你说',
  whisperedTo: '悄悄对 {name} 说',
  online: '在线：{name}',
  offline: '离线',
  bannerLost: '与服务器的连接已断开，正在重新连接…',
  tryNow: '立即重试',
  notConnected: '尚未连接。消息会保留在这里，等你重新上线。',
  bytesLeft: '还可输入 {count} 字节',
  bytesOver: '超出 {count} 字节',
  tipEntered: '你已进入房间。',
  tipAlone: '这里还没有别人。把本页地址发给朋友，他们就能进入这个房间。',
  tipBack: '你已重新上线。断线期间的消息不会显示。',
  tipLost: '连接已断开。',
  tipJoined: '{name} 进来了。',
  tipLeft: '{name} 离开了。',
  sending: '发送中…',
  failed: '未送达：{why}',
  unsure: '可能未送达：{why}',
  retry: '重新发送',
  edit: '修改',
  discard: '移除',
  failed400: '服务器无法识别这条消息。',
  failed413: '消息太长。',
  failed429: '发送太频繁，请稍候。',
  failed500: '服务器出错。',
  failed503: '服务繁忙，请重试。',
  failedAbsent: '{name} 不在房间里。',
  failedTimeout: '服务器没有回应。',
  failedClosed: '连接已断开。',
  problemTaken: '这个房间里已有人使用此名字，请换一个。',
  problemInvalid: '服务器不接受这个名字或房间名。',
  problemBusy: '服务繁忙，请稍后再试。',
  problemNoServer: '没有可用的聊天服务器，请稍后再试。',
  problemRefused: '服务器出错，请重试。',
  problemUnreachable: '无法连接服务器，请重试。',
  problemKicked: '服务器结束了你的会话。{detail}',
  nameEmpty: '请填写此项。',
  nameLong: '太长了：最多 64 字节。',
  nameStar: '不能使用字符 *。',
  nameCharacter: '包含无法显示的字符。',
};

export const LANGUAGES = Object.freeze({ en: EN, zh: ZH });

/** The first of the user's languages that we speak; English if there is none. */
export function pickLanguage(preferred) {
  const known = preferred.map((tag) => tag.toLowerCase().split('-')[0]);
  return known.find((language) => Object.hasOwn(LANGUAGES, language)) ?? 'en';
}

/** Returns `t(key, values)`: the text for `key`, with `{name}` and the like filled in. */
export function translator(language) {
  const words = LANGUAGES[language];
  return (key, values = {}) =>
    // By a function: in a replacement text, names like `$&` would mean something.
    words[key].replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ''));
}

/** Fills in the words of elements marked `data-t`, `data-t-label`, `data-t-placeholder`. */
export function localize(root, t) {
  for (const node of root.querySelectorAll('[data-t]')) node.textContent = t(node.dataset.t);
  for (const node of root.querySelectorAll('[data-t-label]')) {
    node.setAttribute('aria-label', t(node.dataset.tLabel));
    node.title = t(node.dataset.tLabel);
  }
  for (const node of root.querySelectorAll('[data-t-placeholder]')) {
    node.placeholder = t(node.dataset.tPlaceholder);
  }
}
