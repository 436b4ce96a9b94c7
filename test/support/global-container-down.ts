import { stopContainer } from './global-container.ts';

export default stopContainer;
