# job.sh KIND EFFECTS GO: does the same as job.py, but starts within a millisecond, so that workers run it in series.
# EFFECTS.SLOT.pid names the last process of the slot. If it is still alive, two processes run at once.
slot="$2.${CRASH_SLOT:-slot}.pid"
word=alone
[ -e "$slot" ] && read -r last < "$slot"
if { read -r _ _ state _ < "/proc/${last:-none}/stat"; } 2> /dev/null; then
  case $state in [ZX]) ;; *) word=CROWDED ;; esac
fi
echo $$ > "$slot"
echo "$BACKBURNER_TASK_ID $BACKBURNER_ATTEMPT $BACKBURNER_CLAIM $word" >> "$2"
case $1 in
  fails) exit 3 ;;
  flaky) [ "$BACKBURNER_ATTEMPT" = 1 ] && exit 3 ;;
  silent) exit 0 ;;
  leaves) (sleep 300; :) & ;;
  holds) while [ ! -e "$3" ]; do sleep 0.02; done ;;
  large | medium)
    [ "$1" = large ] && size=100000 || size=30000
    text=xxxxxxxxxxxxxxxx
    while [ ${#text} -lt $size ]; do text=$text$text; done
    echo "$text" ;;
esac
echo done
