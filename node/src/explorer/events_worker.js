// The shared worker that owns the event streams of all windows.
import { serve } from './event_streams.js';

self.onconnect = ({ ports: [port] }) => serve(port);
