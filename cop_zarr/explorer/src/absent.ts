/** In place of codecs that no store has. */

export default undefined;
