// What the server answers on the bench: errors and reasons to the knobs, and where to go after a launch.
(function () {
  const Lab = (window.Lab = window.Lab || {});
  Lab.answers = (element, props, watch) => {
    const pass = () => props.value && Lab.emit("answer", props.value);
    watch("value", pass);
    setTimeout(pass, 0);
  };
  Lab.going = (element, props, watch) => {
    watch("value", () => { if (props.value && props.value.to) location.href = props.value.to; });
  };
})();
